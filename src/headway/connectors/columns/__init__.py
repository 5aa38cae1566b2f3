"""Files of columns, as Parquet has them: as inputs and as outputs."""
