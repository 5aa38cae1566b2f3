"""Synthetic streams with known results, for trials, benchmarks and tests."""

from headway.generate.demo import shop_events
from headway.generate.shop import Report, ShopOptions, generate_shop

__all__ = ["Report", "ShopOptions", "generate_shop", "shop_events"]
