"""What the tests share: the real catalogue, a filled stock ledger, carts and a clock to turn by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.cart import Cart
from shop.catalogue import Catalogue
from shop.orders import Order, OrderDesk
from shop.pricing import price
from shop.stock import Kind, StockLedger
from shop.store import OrderStore
from shop.testing import Clock

DATA = Path(__file__).parent.parent / "data"

CartOf = Callable[..., Cart]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue.from_csv(DATA / "products.csv")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cart_of(catalogue: Catalogue) -> CartOf:
    """A cart from quantities by number: cart_of({"T-100": 2})."""

    def build(quantities: dict[str, int]) -> Cart:
        cart = Cart(catalogue)
        for sku, quantity in quantities.items():
            cart.add(sku, quantity)
        return cart

    return build


@pytest.fixture
def ledger(catalogue: Catalogue, clock: Clock) -> StockLedger:
    """Fifty of everything."""
    ledger = StockLedger(hold_s=900, clock=clock)
    for product in catalogue:
        ledger.record(product.sku, Kind.RECEIVED, 50)
    return ledger


@pytest.fixture
def desk(ledger: StockLedger) -> OrderDesk:
    return OrderDesk(ledger)


@pytest.fixture
def order(desk: OrderDesk, cart_of: CartOf) -> Order:
    cart = cart_of({"T-100": 2, "P-301": 1})
    return desk.place(cart, price(cart).total)


@pytest.fixture
def store(tmp_path: Path, catalogue: Catalogue) -> Iterator[OrderStore]:
    store = OrderStore(tmp_path / "orders.db", catalogue)
    yield store
    store.close()
