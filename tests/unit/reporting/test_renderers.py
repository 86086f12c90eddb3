"""Reports as files: golden texts, pages that hold everything and fetch nothing, figures that plotly accepts."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from prune_deploy.errors import VerificationError
from prune_deploy.reporting.charts import curve_views, distribution_views, operator_views, tradeoff_views, waterfall_views
from prune_deploy.reporting.explain.trace_pairs import trace_pairs
from prune_deploy.reporting.figures.report import Report, make_report, read_report
from prune_deploy.reporting.renderers import Format, render
from prune_deploy.reporting.renderers.html import render_html
from prune_deploy.reporting.renderers.html_table import table
from prune_deploy.reporting.renderers.palette import dark_edition
from prune_deploy.reporting.renderers.plotly_figures import figure
from prune_deploy.runs import Run, read_run
from prune_deploy.specs import RANDOM_WEIGHTS
from support import ROOT
from support.report_runs import GOLDEN_FORMATS, GOLDEN_REPORTS, GOLDEN_RUNS
from support.run_records import case_record, run_record, speedup

HOSTILE = "<script>alert(1)</script>|`x`"


@pytest.fixture(scope="module")
def report() -> Report:
    """The golden runs: a curve and a bench on two machines."""
    return read_report(GOLDEN_RUNS)


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_html(report, GOLDEN_RUNS[0]).decode()


class Page(HTMLParser):
    """Ids, addresses and texts of a page; scripts and styles apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


@pytest.mark.parametrize("form", GOLDEN_FORMATS)
def test_golden_reports_come_out_again_to_the_byte(report: Report, form: Format) -> None:
    ((name, content),) = render(report, form, GOLDEN_REPORTS).items()
    assert content.decode() == (GOLDEN_REPORTS / name).read_text(encoding="utf-8"), (
        "if it is meant: python tests/golden/make_reports.py"
    )


def test_csv_has_a_line_per_case_and_a_column_per_figure(report: Report) -> None:
    text = render(report, "csv", GOLDEN_REPORTS)["report.csv"].decode()
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(list(report.lines))
    masked = next(line for line in lines if line["method"] == "mask-l1-unstructured")
    assert (masked["ratio"], masked["zeroed"]) == ("0.3", "true")
    assert int(masked["nonzero_params"]) < int(masked["params"])
    graph = next(line for line in lines if line["variant"] == "cuda-graph")
    assert (graph["backend"], graph["machine"]) == ("trt", "RTX A2000 12GB")
    lost = next(line for line in lines if line["status"] == "failed")
    assert lost["latency_ms"] == lost["speedup"] == ""
    assert "SIGKILL" in lost["reason"]
    assert all(float(line["speedup_low"]) < float(line["speedup"]) for line in lines if line["speedup"])


def test_json_is_one_document_of_all_runs(report: Report) -> None:
    document = json.loads(render(report, "json", GOLDEN_REPORTS)["report.json"])
    assert [run["machine"] for run in document["runs"]] == ["AMD Ryzen 7 7840U", "RTX A2000 12GB"]
    assert len(document["cases"]) == len(list(report.lines))
    assert document["runs"][0]["slower_steps"]
    assert document["runs"][1]["explanations"][0]["steps"]


def test_plotly_accepts_every_figure_and_all_colours_have_a_dark_edition(report: Report) -> None:
    known = dark_edition().keys()
    views = [*curve_views(report), *tradeoff_views(report), *distribution_views(report), *waterfall_views(report)]
    for view in [*views, *operator_views(trace_pairs(report))]:
        for chart in view.charts:
            made = figure(chart)
            assert {trace["type"] for trace in made["data"]} <= {"scatter", "bar"}  # what the basic bundle draws
            go.Figure(data=made["data"], layout=made["layout"])
            colours = set(re.findall(r"#[0-9a-f]{6}", json.dumps(made)))
            assert colours <= known
            assert colours


def test_the_page_fetches_nothing(page: str) -> None:
    parsed = Page(page)
    links = [each for attribute in ("src", "href", "action", "srcset") for each in parsed.values(attribute)]
    assert [each for each in links if re.match(r"[a-z]+:", each) and each != "data:,"] == []
    assert "default-src 'none'" in page.partition("</head>")[0]
    assert "url(" not in page.partition("</style>")[0]
    assert page.count("plotly.js (basic - minified) v") == 1


def test_the_page_is_small_enough_for_mail(page: str) -> None:
    assert len(page.encode()) < 2_000_000


def test_the_plotting_library_is_the_one_that_was_reviewed() -> None:
    spec = importlib.util.spec_from_file_location("vendor_plotly", ROOT / "docs" / "vendor_plotly.py")
    assert spec is not None
    assert spec.loader is not None
    vendor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vendor)
    for name in vendor.SHA256:
        content = (vendor.FOLDER / name).read_bytes()
        assert vendor.check(name, content) == content
        with pytest.raises(ValueError, match="SHA-256"):
            vendor.check(name, content + b" ")
    assert f"v{vendor.VERSION}".encode() in (vendor.FOLDER / "plotly-basic.min.js").read_bytes()[:200]
    assert b"MIT License" in (vendor.FOLDER / "LICENSE").read_bytes()


def test_the_page_has_every_case_with_its_figures_reasons_and_commands(page: str, report: Report) -> None:
    parsed = Page(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    for line in report.lines:
        assert line.id in ids
        assert all(command in parsed.text for command in line.commands)
        if line.row.reason:
            assert line.row.reason in parsed.text
            assert line.row.fix in parsed.text
    assert "2.25× [2.23, 2.26]" in parsed.text
    for section in ("summary", "cases", "machines", "curves", "tradeoffs", "distributions", "layers", "failures", "receipts"):
        assert section in ids
    assert "no dense speed-up expected" in parsed.text
    assert "down to a multiple of 8" in parsed.text
    targets = {each for each in parsed.values("href") if each.startswith("#")}
    assert {target[1:] for target in targets} <= set(ids)


def test_links_to_traces_lead_to_files(page: str) -> None:
    links = [each for each in Page(page).values("href") if "traces/" in each]
    assert len(links) == 4  # two rows, and two lines below the layers
    assert all((GOLDEN_RUNS[0] / link).is_file() for link in links)


def test_what_strangers_wrote_stays_text(tmp_path: Path) -> None:
    record = case_record(label=HOSTILE, model=HOSTILE, warnings=(HOSTILE,))
    lost = case_record(ratio=None, label=HOSTILE, reason=HOSTILE, fix=HOSTILE)
    report = make_report([Run(tmp_path, run_record(), (record, lost), 0)])
    page = render_html(report, tmp_path).decode()
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "alert(1)" in Page(page).text
    markdown = render(report, "md", tmp_path)["report.md"].decode()
    assert "<script>" not in markdown
    table = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_head_says_what_random_weights_leave_real(tmp_path: Path) -> None:
    random, trained = case_record(is_untrained=True), case_record(is_untrained=False, model="other")
    said = f"{RANDOM_WEIGHTS[:1].upper()}{RANDOM_WEIGHTS[1:]}"
    for records, expected in (((random,), f"{said}."), ((random, trained), f"{said} (net)."), ((trained,), "")):
        report = make_report([Run(tmp_path, run_record(), records, 0)])
        head = render_html(report, tmp_path).decode().partition("</header>")[0]
        assert (expected or RANDOM_WEIGHTS[3:]) in head or not expected
        assert ('class="real"' in head) == bool(expected)
        lines = render(report, "md", tmp_path)["report.md"].decode().splitlines()
        assert (lines[2] == f"**{expected}**") == bool(expected)


def test_noise_and_reasons_stand_on_the_first_screen(tmp_path: Path) -> None:
    loud = replace(speedup(1.05, verdict="INCONCLUSIVE"), margin=0.14)
    record = case_record(speedup=loud, variant=None)
    report = make_report([Run(tmp_path, run_record(), (record,), 0)])
    text = Page(render_html(report, tmp_path).decode()).text
    assert "Noisy machine: the dense model may differ from its own copy by 14%, smaller effects are not resolved." in text
    assert "1 candidate undecided: the dense model may differ from its own copy by 14% here." in text
    assert "A quieter machine or a larger --budget-s would decide." in text
    assert "prune-deploy bench engines/net-l2-r0.50 --backend ort --batch 1 --rigor full --device cpu --budget-s 240" in text


def test_sizes_weights_and_energy_have_columns_where_they_are_known(tmp_path: Path) -> None:
    known: dict[str, Any] = {
        "artifact_bytes": 46_800_000,
        "weights": "pretrained a1_in1k",
        "telemetry": {"energy_per_run_j": 0.5},
    }
    one, other = case_record(**known), case_record(artifact_bytes=97_600_000, weights="random, seed 0")
    full = table(make_report([Run(tmp_path, run_record(), (one, other), 0)]))
    cells = [{cell.key: cell.text for cell in each.cells} for each in full.rows]
    assert [(each["file"], each["energy"], each["weights"]) for each in cells] == [
        ("46.80", "500.0", "pretrained a1_in1k"),
        ("97.60", "-", "random, seed 0"),
    ]
    markdown = render(make_report([Run(tmp_path, run_record(), (one,), 0)]), "md", tmp_path)["report.md"].decode()
    assert "File, MB" in markdown
    plain = table(make_report([Run(tmp_path, run_record(), (case_record(),), 0)]))
    assert {column.key for column in plain.columns}.isdisjoint({"file", "energy", "weights"})


def test_a_heading_replaces_the_models(tmp_path: Path) -> None:
    report = make_report([Run(tmp_path, run_record(), (case_record(),), 0)], "Edge box, <b>May</b>")
    assert "<h1>Edge box, &lt;b&gt;May&lt;/b&gt;</h1>" in render_html(report, tmp_path).decode()
    assert render(report, "md", tmp_path)["report.md"].startswith(b"# Edge box, &lt;b>May")


def test_a_run_without_cases_is_a_page_that_says_so(tmp_path: Path) -> None:
    report = make_report([Run(tmp_path, run_record(), (), 1)])
    text = Page(render_html(report, tmp_path).decode()).text
    assert "no case yet" in text
    assert "which was half-written" in text
    assert b"no case yet" in render(report, "md", tmp_path)["report.md"]


def test_damaged_samples_and_bundles_are_noticed(tmp_path: Path) -> None:
    run = read_run(GOLDEN_RUNS[1])
    broken = replace(run, cases=tuple(replace(each, samples_sha256="0" * 64) for each in run.cases))
    message = Page(render_html(make_report([broken]), tmp_path).decode()).text
    assert message.count("its hash differs. Its distribution is not shown.") == len(
        {each.samples_file for each in run.cases} - {""}
    )
    with pytest.raises(VerificationError, match="its hash differs"):
        render(make_report([broken]), "png", tmp_path)
    (tmp_path / "bundles" / "net").mkdir(parents=True)
    (tmp_path / "bundles" / "net" / "bundle.json").write_text("{}", encoding="utf-8")
    report = make_report([Run(tmp_path, run_record(), (case_record(),), 0)])
    assert "is not a BundleRecord" in Page(render_html(report, tmp_path).decode()).text


def test_a_trace_s_file_is_linked_and_never_looked_at(tmp_path: Path, report: Report) -> None:
    """A stranger chose its name, and what lies there."""
    run = next(each for each in report.runs if each.traces)
    stem, trace = next(iter(run.traces.items()))
    for name in ("loop.json.gz", "../../../etc/passwd", "\0", "\ud800", "x" * 5000, ""):
        (tmp_path / "traces").mkdir(exist_ok=True)
        with contextlib.suppress(OSError, ValueError):
            (tmp_path / "traces" / "loop.json.gz").symlink_to("loop.json.gz")
        moved = replace(run, run=replace(run.run, folder=tmp_path), traces={**run.traces, stem: replace(trace, chrome_file=name)})
        assert b"etc/passwd" not in render_html(Report(runs=(moved,)), tmp_path)


@pytest.mark.parametrize("name", ["\ud800", "$\\frac{1$", "\0\x1b", "x" * 5000])
def test_plots_have_no_trouble_with_a_stranger_s_names(name: str) -> None:
    records = [case_record(batch=batch, label=name, model=name, comparison=name) for batch in (1, 8)]
    records = [replace(each, case=replace(each.case, backend=name)) for each in records]
    report = make_report([Run(Path("run"), run_record(), tuple(records), 0)])
    forms: tuple[Format, ...] = ("png", "html")
    for form in forms:
        assert all(render(report, form, Path("run")).values())
    assert all(len(file) < 255 for file in render(report, "png", Path("run")))
