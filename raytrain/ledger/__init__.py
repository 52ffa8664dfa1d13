"""The ledger: what every second and every dollar of a run went into. Events in, accounts out."""

from raytrain.ledger.account import PHASES, Account, account
from raytrain.ledger.events import Ledger, LedgerReader, read_events
from raytrain.ledger.prices import Price, PriceSection, as_event, price_of
from raytrain.ledger.tally import Tally

__all__ = [
    "PHASES",
    "Account",
    "Ledger",
    "LedgerReader",
    "Price",
    "PriceSection",
    "Tally",
    "account",
    "as_event",
    "price_of",
    "read_events",
]
