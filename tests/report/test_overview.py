"""The table that papers print, methods x data sets, and published rows beside one's own."""

import csv
import re

import numpy as np
import pytest

import test_score
from metrics import PROTOCOLS, Scores
from report import overview, published, tables
from report.cases import Job
from report.layout import Show

PRANET = Show()


def job(dataset, method, shift, protocol="pranet", images=2):
    """A method that draws a square too far to the right."""
    scores = Scores(protocol)
    gt = np.zeros((20, 24), np.uint8)
    gt[5:15, 4:14] = 255
    for _ in range(images):
        scores.update(np.roll(gt, shift, 1), gt)
    return Job(dataset, method, names=[str(i) for i in range(images)], scores=scores)


@pytest.fixture
def three():
    return [job(s, m, shift + i) for i, s in enumerate(("Kvasir", "A_b")) for m, shift in zip("xyz", (0, 2, 5))]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_methods_stand_under_data_sets_and_their_mean_best_bold_second_underlined(three):
    lines = [line for line in overview.markdown(overview.of(three, PRANET)).splitlines() if line.startswith("|")]
    head, _, x, y, z = map(cells, lines)
    assert head[1:4] == ["Kvasir meanDic ↑", "Kvasir meanIoU ↑", "Kvasir MAE ↓"]
    assert head[7:] == ["mean of the sets meanDic ↑", "mean of the sets meanIoU ↑", "mean of the sets MAE ↓"]
    own = {(j.method, j.dataset): j.scores.result()["meanDic"] for j in three}
    assert [x[1], y[1], z[1]] == [
        f"**{own['x', 'Kvasir']:.3f}**",
        f"<u>{own['y', 'Kvasir']:.3f}</u>",
        f"{own['z', 'Kvasir']:.3f}",
    ]
    assert y[7] == f"<u>{(own['y', 'Kvasir'] + own['y', 'A_b']) / 2:.3f}</u>"


def test_of_two_methods_none_is_underlined_in_any_table(three):
    two = [j for j in three if j.method != "z"]
    whole = overview.of(two, PRANET)
    assert "<u>" not in overview.markdown(whole) and "**" in overview.markdown(whole)
    text = tables.terminal(two, PRANET, whole)
    assert "+" not in text and text.endswith("* best")


def test_a_set_that_a_method_lacks_leaves_it_no_mean(three):
    whole = overview.of(three[:-1], PRANET)
    assert cells(overview.markdown(whole).splitlines()[-1])[-6:] == ["-"] * 6


def test_columns_choose_the_scores_and_one_set_alone_needs_no_overview(three):
    whole = overview.of(three, Show(("maxDic", "Sm"), percent=True))
    assert whole.names == ("maxDic", "Sm") and re.search(r"^x +100\.0\*", overview.terminal(whole), re.M)
    assert overview.of(three[:3], PRANET) is None


def test_the_tabular_is_whole_latex_with_as_many_cells_as_columns(three):
    three[0].method = r"[a]_{50%}\&*~"
    three[1].method = three[4].method = "[b]"
    text = overview.latex(overview.of(three, PRANET))
    body = re.sub(r"^%.*$", "", text, flags=re.M)
    plain = re.sub(r"\\[{}%&$#_]", "", body)
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    whole = [("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")]
    assert re.findall(r"\\(begin|end)\{(\w+)\}", body) == whole
    assert r"\resizebox{\linewidth}{!}" in body and r"\caption{methods on data sets, protocol pranet}" in body
    columns = len(re.search(r"\\begin\{tabular\}\{(l?c+)\}", body)[1])
    lines = [line for line in plain.splitlines() if line.endswith(r" \\")]
    wide = [sum(int(n) for n in re.findall(r"\\multicolumn\{(\d+)", line)) or 1 for line in lines]
    assert [line.count("&") + 1 for line in lines[1:]] == [columns] * (len(lines) - 1)
    assert wide[0] + 1 == columns == 10
    assert all(not line.lstrip().startswith(("[", "*")) for line in lines)
    assert [*re.findall(r"cmidrule\(lr\)\{(\d+)-(\d+)\}", body)] == [("2", "4"), ("5", "7"), ("8", "10")]


def test_published_rows_stand_beside_ones_own_with_their_source_and_what_is_disputed():
    rows = published.read("pranet", ["CVC-300"])
    own = [job("CVC-300", "mine", 1)]
    text = overview.terminal(overview.of(own, PRANET, rows))
    assert re.search(r"^M2SNet \(published\) +0\.869\S* +0\.807\S* +-$", text, re.M)
    assert "M2SNet on CVC-300 is otherwise meanDic 0.903, meanIoU 0.842 (unverified)" in text
    assert "note: published, not measured here: " in text and "MSNet: arXiv 2108.05082" in text
    assert "CVC-300 has 2 images here and 60 in print: these do not compare" in text
    assert re.search(r"^mine +0\.", text, re.M)


def test_a_method_whose_rows_are_of_two_sources_has_both_each_with_its_sets():
    rows = published.read("pranet", ["CVC-300", "CVC-ColonDB-300"])
    first, *_ = overview.of([job("CVC-300", "mine", 1)], PRANET, rows).notes
    assert "MSNet: arXiv 2108.05082 (MSNet) (CVC-300) and arXiv 2303.10894 (M2SNet) (CVC-ColonDB-300);" in first
    assert "SFA: arXiv 2401.11734, table V (survey);" in first


def test_a_method_of_ones_own_by_the_name_of_a_published_row_is_refused(sets):
    for folder in (sets / "gt", sets / "good"):
        (folder / "one").rename(folder / "Kvasir")
    own = f"MSNet (published)={sets / 'good'}"
    with pytest.raises(SystemExit, match=r"--pred 'MSNet \(published\)' is the name of a published row"):
        test_score.main(["--gt", str(sets / "gt"), "--pred", own, "--protocol", "pranet", "--published", "pranet"])


def test_rows_of_another_protocol_of_no_set_or_beside_classes_are_refused_before_anything_is_scored(sets):
    arguments = ["--gt", str(sets / "gt"), "--pred", str(sets / "good"), "--published", "pranet"]
    with pytest.raises(SystemExit, match=r"--published pranet beside --protocol official: .* give --protocol pranet"):
        test_score.main(arguments)
    with pytest.raises(SystemExit, match=r"no published score of protocol pranet is of one, two; published\.csv has"):
        test_score.main([*arguments, "--protocol", "pranet"])
    with pytest.raises(SystemExit, match="--published pranet has rows of one class, but these masks have 2"):
        test_score.main([*arguments, "--protocol", "pranet", "--classes", "2", "--label_values", "0,255"])


def test_published_and_overview_are_printed_and_written(sets, capsys):
    (sets / "gt" / "one").rename(sets / "gt" / "Kvasir")
    (sets / "good" / "one").rename(sets / "good" / "Kvasir")
    arguments = ["--gt", sets / "gt", "--pred", sets / "good", "--protocol", "pranet", "--published", "pranet"]
    test_score.main([*map(str, arguments), "--out", str(sets / "out"), "--processes", "1"])
    assert re.search(r"^MSNet \(published\) +0\.907", capsys.readouterr().out, re.M)
    assert "| MSNet (published) | " in (sets / "out" / "tables.md").read_text()
    assert "MSNet (published) & " in (sets / "out" / "tables.tex").read_text()


def test_every_published_row_has_a_known_protocol_scores_of_it_and_a_source():
    with open(published.FILE, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["protocol"] for line in lines} == set(published.PRINTED)
    facts = {"protocol", "method", "dataset", "images", "source", "note"}
    for line in lines:
        scores = {name: value for name, value in line.items() if name not in facts and value}
        assert scores and scores.keys() <= set(PROTOCOLS[line["protocol"]].names)
        assert all(re.fullmatch(r"\.\d{3,4}", value) for value in scores.values())
        assert line["source"] and line["method"] and line["dataset"]
    first = {(line["method"], line["dataset"], line["source"]) for line in lines}
    assert len(first) == len(lines)
