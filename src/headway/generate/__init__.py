"""Synthetic streams with known results, for trials, benchmarks and tests."""

from headway.generate.demo import nexmark_events, shop_events
from headway.generate.nexmark import NexmarkOptions, NexmarkReport, generate_nexmark
from headway.generate.shop import Report, ShopOptions, generate_shop

__all__ = [
    "NexmarkOptions",
    "NexmarkReport",
    "Report",
    "ShopOptions",
    "generate_nexmark",
    "generate_shop",
    "nexmark_events",
    "shop_events",
]
