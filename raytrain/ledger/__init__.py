"""The ledger: what every second and every dollar of a run went into. Events in, accounts out."""

from raytrain.ledger.account import PHASES, Account, account
from raytrain.ledger.events import Ledger, read_events
from raytrain.ledger.prices import Price, PriceSection, price_of

__all__ = ["PHASES", "Account", "Ledger", "Price", "PriceSection", "account", "price_of", "read_events"]
