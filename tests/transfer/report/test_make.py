from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.compare import Row
from paceline.transfer.fit.history import EpochRecord, History
from paceline.transfer.mask import MaskedPoint
from paceline.transfer.pictures.pictures import Pictures
from paceline.transfer.prune.curve import CurvePoint, PruningCurve
from paceline.transfer.rank import rank
from paceline.transfer.ranking import Ranking
from paceline.transfer.report.make import MAX_BYTES, make_report
from paceline.transfer.stability import stability
from tests.transfer.small_net import SIDE, batches, small_net

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
GREY = Preprocessing(size=SIDE, resize=SIDE, mean=(0.5,), std=(0.5,))


def pictures(num: int = 18, classes: tuple[str, ...] = ("a", EVIL, "c"), side: int = SIDE) -> Pictures:
    images = np.random.default_rng(0).integers(0, 256, (num, 1, side, side), dtype=np.uint8)
    labels = np.arange(num, dtype=np.int64) % len(classes)
    return Pictures(images, labels, classes, tuple(Path(f"{EVIL}/{row}.png") for row in range(num)))


class Elements(HTMLParser):
    """Which elements and attributes a browser would see, and whether all are closed."""

    VOID = ("meta", "img", "br", "rect", "path", "circle")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    net = small_net()
    rankings = [rank(net, batches(seed=seed)) for seed in range(3)]
    epochs = tuple(
        EpochRecord(
            epoch=number,
            phase="all",
            train_loss=2.0 / (number + 1),
            val_loss=2.0,
            val_top1=0.1 * number,
            learning_rate=0.01,
            seconds=1.0,
        )
        for number in range(4)
    )
    point = CurvePoint(
        share=1.0,
        num_macs=100,
        num_parameters=50,
        accuracy_cut=0.6,
        accuracy=0.6,
        latency_s=0.1,
        latency_share=1.0,
        num_bytes=200,
    )
    return make_report(
        net,
        pictures(),
        GREY,
        title=f"birds {EVIL}",
        ranking=rankings[0],
        stability=stability(rankings),
        history=History(epochs=epochs, best_epoch=2),
        masking={"taylor": [MaskedPoint(0.1, 10, 0.5)], EVIL: [MaskedPoint(0.1, 10, 0.4)]},
        pruning=PruningCurve(points=(point,), batch_size=64),
        comparison=[Row(EVIL, 2, 0.5, 0.05, 0.5, 100, 9.0, 0.4), Row("probe", 1, 0.4, None, 0.4, 0, 3.0, None)],
    )


def test_nothing_comes_from_elsewhere_and_nothing_runs(page: str) -> None:
    elements = Elements(page)
    assert not elements.open
    tags = {tag for tag, _ in elements.seen}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "a"}
    for tag, attributes in elements.seen:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset")]
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/png;base64,")
    assert "url(" not in page
    assert "@import" not in page
    assert any(attributes.get("http-equiv") == "Content-Security-Policy" for _, attributes in elements.seen)


def test_names_that_are_html_stay_text(page: str) -> None:
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)" in page


def test_all_parts_are_there(page: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Ways to train on the same pictures",
        "Training",
        "Where the network looks",
        "What is taken for what",
        "Channels that matter most",
        "What the gates learned",
        "How much can go",
    ]
    assert page.count('class="channel"') == 15  # three of each stage
    assert page.count('class="histogram"') == len(small_net().backbone.units)
    assert "rank correlation" in page


def test_what_is_not_given_is_left_out() -> None:
    net = small_net("lora")  # whose gates multiply no channel
    page = make_report(net, pictures(), GREY, title="t", ranking=rank(net, batches()))
    for heading in ("Ways to train", "Training", "What the gates learned", "How much can go"):
        assert heading not in page


def test_the_page_is_never_too_large() -> None:
    net, preprocessing = small_net(), Preprocessing(size=128, resize=128, mean=(0.5,), std=(0.5,))
    page = make_report(net, pictures(60, side=128), preprocessing, title="t", ranking=rank(net, batches()))
    assert len(page.encode()) < MAX_BYTES


def test_the_ranking_of_another_network_is_refused() -> None:
    ranking = Ranking(criterion="taylor", scores={"conv1": (1.0, 2.0)}, num_pictures=1)
    with pytest.raises(ConfigError, match="another network"):
        make_report(small_net(), pictures(), GREY, title="t", ranking=ranking)
