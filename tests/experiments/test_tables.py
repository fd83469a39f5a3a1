"""Tables of a comparison: means over the seeds, differences in pairs, and verdicts in words, in every form alike."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from io import StringIO
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from remembev.errors import DataError
from remembev.experiments.measures import FLICKER, MAP, NDS
from remembev.experiments.results import Results
from remembev.experiments.summary import to_markdown
from remembev.experiments.tables import difference_table, dots, score_table
from remembev.experiments.verdict import Verdict


def run(mean_ap: float, recall: float | None, lost: float | None, step_ms: float, auc: float | None) -> dict[str, Any]:
    permanence = {"windows_s": [1, 4], "false_boxes": [1, 5, 10], "recall": [[0.0, recall, 0.9], [0.0, None, 0.9]]}
    score = {"mean_ap": mean_ap, "nds": 0.5, "permanence": permanence, "visibility": {"1": {"mean_ap": mean_ap / 2}}}
    tracks = {"tracks": {"half_second": None}, "flicker": {"lost_per_track": lost}}
    occupancy = {"occupancy": None if auc is None else {"auc_seen": auc, "auc_unseen": None}}
    return {"eval": {**score, **tracks, **occupancy}, "result": {"parameters": 1000, "step_ms": step_ms}}


RESULTS = Results(
    {
        "settings": {"data": "made by hand"},
        "what": {"single": "one turn", "gate": "a gate", "read": "a read"},
        "differences": {"gate": ["MODEL.MEMORY.FUSION=gate"]},
    },
    {
        "single": {
            0: run(0.10, 0.2, 2.0, 10.0, None),
            1: run(0.20, 0.4, 2.0, 20.0, None),
            2: run(0.30, 0.3, None, 30.0, None),
        },
        "gate": {0: run(0.15, 0.1, 1.0, 20.0, 0.7), 1: run(0.26, 0.5, 1.5, 50.0, 0.9)},
    },
)


def rows(page: str, name: str) -> list[list[str]]:
    """The cells of a row of the page's tables, wherever it stands."""
    split = ([cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line)
    return [cells[1:] for cells in split if cells[0] == name]


def verdict(results: Results, variant: str, measure: Any) -> Verdict:
    return results.difference(variant, measure).verdict


def test_the_tables_have_means_over_seeds_and_differences_in_pairs() -> None:
    page = to_markdown(RESULTS)
    pairs = [0.15 - 0.10, 0.26 - 0.20]
    assert rows(page, "mAP") == [
        ["0.200 ± 0.100", f"{mean([0.15, 0.26]):.3f} ± {stdev([0.15, 0.26]):.3f}"],
        [f"+{mean(pairs):.3f} ± {stdev(pairs):.3f} (better)"],
    ]
    assert rows(page, "mAP at visibility 1")[0][0] == "0.100 ± 0.050"
    assert rows(page, "permanence 1 s")[0] == ["0.300 ± 0.100", "0.300 ± 0.283"]
    assert rows(page, "permanence 1 s")[1] == ["+0.000 ± 0.141 (within the spread)"]
    assert rows(page, "time over single's") == [["1.00 ± 0.00", "2.25 ± 0.35"]]
    assert rows(page, "parameters") == [["1,000", "1,000"]]
    assert rows(page, "seeds") == [["3", "2"]]


def test_a_measure_is_shown_where_any_variant_has_a_value() -> None:
    page = to_markdown(RESULTS)
    assert rows(page, "AUC seen") == [["–", "0.800 ± 0.141"]]  # and no difference to the first, which has none
    assert "- AUC seen: ROC AUC of the occupancy" in page
    for absent in ("AUC unseen", "permanence 4 s", "mAP ≤ 0.5 s", "memory parameters"):
        assert rows(page, absent) == []
        assert f"- {absent}:" not in page


def test_all_forms_of_a_table_have_the_same_figures() -> None:
    console = Console(file=StringIO(), width=200, record=True)
    for table in (score_table(RESULTS), difference_table(RESULTS)):
        console.print(table.to_rich("title"))
        printed, page = console.export_text(), unescape(table.to_html()).replace("−", "-")
        for cell in (cell for row in table.rows for cell in row):
            assert cell.text in table.to_markdown()
            assert cell.text in printed
            assert cell.text.split(" ±")[0] in page


def test_differences_have_a_dot_a_seed() -> None:
    assert [row[1].html.count("<circle") for row in difference_table(RESULTS).rows if row[0].text == "mAP"] == [2]


def test_dots_of_negative_values_are_left_of_the_middle() -> None:
    drawn = ElementTree.fromstring(dots([-0.2, 0.0, 0.2], 0.4, "red"))
    assert [float(dot.get("cx", "nan")) for dot in drawn.iter("circle")] == [75 - 35, 75, 75 + 35]


def test_less_flicker_is_better_and_no_difference_is_within_the_spread() -> None:
    assert verdict(RESULTS, "gate", FLICKER) is Verdict.BETTER
    assert verdict(RESULTS, "gate", NDS) is Verdict.WITHIN
    swapped = replace(RESULTS, runs={"gate": RESULTS.runs["gate"], "single": RESULTS.runs["single"]})
    assert verdict(swapped, "single", FLICKER) is Verdict.WORSE
    assert verdict(swapped, "single", MAP) is Verdict.WORSE


def test_the_page_says_in_words_what_is_better_worse_and_open() -> None:
    statement = next(line for line in to_markdown(RESULTS).splitlines() if line.startswith("- `gate` against"))
    assert "better by more than the spread over seeds in mAP, mAP at visibility 1, flicker;" in statement
    assert "no difference beyond the spread over seeds in NDS, permanence 1 s." in statement
    assert "not measured" not in statement


def test_a_variant_without_a_measure_that_others_have_is_said_to_lack_it() -> None:
    runs = {"gate": RESULTS.runs["gate"], "read": RESULTS.runs["gate"], "single": RESULTS.runs["single"]}
    page = to_markdown(replace(RESULTS, runs=runs))
    assert rows(page, "AUC seen")[1] == ["+0.000 ± 0.000 (within the spread)", "–"]
    assert any(line.startswith("- `single`") and line.endswith("not measured: AUC seen.") for line in page.splitlines())


@pytest.mark.parametrize("variants", [("single",), ("single", "gate")])
def test_results_can_be_shown_before_anything_is_measured(variants: tuple[str, ...]) -> None:
    nothing = replace(RESULTS, runs={name: {} for name in variants})
    assert nothing.empty
    assert rows(to_markdown(nothing), "seeds") == [["0"] * len(variants)]
    assert difference_table(nothing).rows == []


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "compare.json").write_text('{"peers": ["small_single"]}')
    with pytest.raises(DataError, match=r"holds no comparison of variants \(compare\.json\)"):
        Results.read(tmp_path)
