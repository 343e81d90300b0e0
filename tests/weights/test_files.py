"""Files: found where they are promised, checked by their hash; nothing but a state dict is loaded."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

import weights
from tests.weights.conftest import GOOD, GOOD_HASH, HTML, STATE, checkpoint_bytes
from weights import WEIGHTS, Source, Weight, load, locate
from weights.__main__ import table


def equal(state):
    return list(state) == list(STATE) and all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_locate_finds_a_verified_file_in_the_folder_of_the_environment_variable(home, table_of):
    (home / "small.pth").write_bytes(GOOD)
    assert locate("small") == home / "small.pth"


def test_locate_looks_beside_the_package_without_the_environment_variable(monkeypatch, table_of):
    monkeypatch.delenv("MSNET_WEIGHTS")
    with pytest.raises(FileNotFoundError) as error:
        locate("small")
    assert str(Path(weights.__file__).parent) in str(error.value)


def test_locate_finds_the_same_file_name_in_torch_hubs_folder(tmp_path, home, table_of):
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / "small.pth").write_bytes(GOOD)
    assert locate("small") == hub / "small.pth"
    with pytest.raises(FileNotFoundError):
        locate("small", folder=home)  # a folder given by hand is the only one looked into
    (hub / "small.pth").write_bytes(GOOD[:-1])
    with pytest.raises(ValueError, match="damaged"):
        locate("small")


def test_a_missing_file_is_one_error_with_file_address_folder_hash_and_command(tmp_path, table_of):
    table_of("http://first.example/small.pth", "http://second.example/small.pth")
    with pytest.raises(FileNotFoundError) as error:
        locate("small")
    for part in (
        "small.pth",
        "http://first.example/small.pth",
        "http://second.example/small.pth",
        str(tmp_path / "home"),
        "no such folder",
        GOOD_HASH[:8],
        "python -m weights small",
        "MSNET_WEIGHTS",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[: len(GOOD) // 2], f"found sha256 {hashlib.sha256(GOOD[: len(GOOD) // 2]).hexdigest()}"),
        (HTML, "web page"),
        (b"", "empty"),
    ],
    ids=["truncated", "html", "empty"],
)
def test_a_damaged_file_is_an_error_that_says_found_expected_and_fix(home, table_of, content, says):
    (home / "small.pth").write_bytes(content)
    with pytest.raises(ValueError) as error:
        locate("small")
    assert says in str(error.value)
    assert GOOD_HASH[:8] in str(error.value)
    assert "python -m weights small" in str(error.value)


def test_a_wrong_size_is_said_in_bytes(home, table_of):
    table_of("http://127.0.0.1:1/", size=len(GOOD))
    (home / "small.pth").write_bytes(GOOD[:-10])
    with pytest.raises(ValueError, match=f"found {len(GOOD) - 10} bytes, expected {len(GOOD)}"):
        locate("small")


def test_a_right_second_file_serves_where_the_first_is_damaged(home, monkeypatch):
    sources = (Source("a.pth", "http://a", GOOD_HASH), Source("b.pth", "http://b", GOOD_HASH))
    monkeypatch.setitem(WEIGHTS, "small", Weight("small", sources, "MIT", "a test"))
    (home / "a.pth").write_bytes(GOOD[:-1])
    (home / "b.pth").write_bytes(GOOD)
    assert locate("small") == home / "b.pth"


def test_a_file_without_any_known_hash_is_used_and_said_to_be_unchecked(home, table_of, capsys):
    table_of("http://127.0.0.1:1/", sha256="")
    (home / "small.pth").write_bytes(GOOD)
    assert locate("small") == home / "small.pth"
    assert "not checked" in capsys.readouterr().err


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_unwraps_and_strips_the_module_prefix(tmp_path, wrap, prefix):
    state = {prefix + key: value for key, value in STATE.items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "file")
    assert equal(load(tmp_path / "file"))


def test_load_keeps_a_prefix_that_not_every_key_has(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "file")
    assert list(load(tmp_path / "file")) == ["module.a", "b"]


def test_load_reads_the_format_of_old_pytorch_and_a_path_as_text(tmp_path):
    (tmp_path / "old").write_bytes(checkpoint_bytes(_use_new_zipfile_serialization=False))
    assert equal(load(str(tmp_path / "old")))


def test_load_by_name_checks_the_hash_first(home, table_of):
    (home / "small.pth").write_bytes(GOOD)
    assert equal(load("small"))
    (home / "small.pth").write_bytes(checkpoint_bytes({"other": torch.zeros(1)}))
    with pytest.raises(ValueError, match="expected " + GOOD_HASH[:8]):
        load("small")


def test_load_of_a_missing_file_or_a_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file .*gone.*known weights: res2net50"):
        load(tmp_path / "gone")
    with pytest.raises(ValueError, match="is a folder; give the checkpoint file in it"):
        load(tmp_path)


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_checkpoint_is_a_clear_error(tmp_path, old_format, kept):
    whole = checkpoint_bytes({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=not old_format)
    (tmp_path / "file").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"file \(\d+ bytes\) is truncated, damaged or no PyTorch checkpoint"):
        load(tmp_path / "file")


@pytest.mark.parametrize("junk", [b"Rar!\x1a\x07" + bytes(range(256)), b"\x80\x02garbage", b"hello\n" * 50])
def test_a_file_that_is_no_checkpoint_is_a_clear_error(tmp_path, junk):
    (tmp_path / "file").write_bytes(junk)
    with pytest.raises(ValueError, match="no PyTorch checkpoint"):
        load(tmp_path / "file")


def test_load_says_that_a_web_page_is_a_web_page(tmp_path):
    (tmp_path / "file").write_bytes(HTML)
    with pytest.raises(ValueError, match="web page"):
        load(tmp_path / "file")


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"a": 1}, {1: torch.zeros(1)}, torch.zeros(2), {"epoch": 3, "model": 4}]
)
def test_what_is_no_state_dict_is_a_clear_error(tmp_path, content):
    torch.save(content, tmp_path / "file")
    with pytest.raises(ValueError, match="state dict"):
        load(tmp_path / "file")


def test_what_a_run_goes_on_from_is_no_checkpoint_and_the_one_beside_it_is_named(tmp_path):
    last = tmp_path / "last.pt"
    torch.save({"network": STATE, "optimiser": {}, "random": {}, "epoch": 3}, last)
    said = f"{last} is where a run goes on from \\(--resume\\), not a checkpoint; give "
    with pytest.raises(ValueError, match=f"^{said}a model-<epoch> of that run; {tmp_path} has none yet$"):
        load(last)
    for name in ("model-9", "model-10", "model-10-ema", "model-best"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"^{said}{tmp_path}/model-10 or model-best$"):
        load(last)


class RunsCode:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run_it(tmp_path):
    trap = tmp_path / "ran"
    torch.save({"a": RunsCode(str(trap))}, tmp_path / "file")
    with pytest.raises(ValueError, match="mkdir, which could run code"):
        load(tmp_path / "file")
    (tmp_path / "bare").write_bytes(pickle.dumps(RunsCode(str(trap))))
    with pytest.raises(ValueError):
        load(tmp_path / "bare")
    assert not trap.exists()


def test_a_whole_saved_model_is_refused_with_the_way_out(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "file")
    with pytest.raises(ValueError, match=r"Linear.*save model.state_dict\(\)"):
        load(tmp_path / "file")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.ones(3, dtype=torch.int8), "of whole numbers"),
        (torch.ones(3, dtype=torch.complex64), "complex"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(3, device="meta"), "without content"),
    ],
)
def test_a_tensor_that_is_no_weight_is_refused_by_name(tmp_path, value, said):
    torch.save({"conv.weight": value}, tmp_path / "file")
    with pytest.raises(ValueError, match=rf"conv\.weight is .*{said}"):
        load(tmp_path / "file")


def test_a_small_archive_that_declares_far_more_than_its_size_is_not_loaded(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(20 << 20))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match="declare 20 MiB"):
        load(tmp_path / "file")


@pytest.mark.parametrize("archived", [True, False])
def test_a_pickle_that_asks_for_a_large_bytearray_is_not_loaded(tmp_path, monkeypatch, archived):
    asks = b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x40\x85R."
    if archived:
        with zipfile.ZipFile(tmp_path / "file", "w") as archive:
            archive.writestr("archive/data.pkl", asks)
    else:
        (tmp_path / "file").write_bytes(asks)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match="bytearray"):
        load(tmp_path / "file")


@pytest.mark.parametrize("record", ["", GOOD_HASH[:40], "no hash at all"])
def test_a_torn_record_of_a_hash_is_said_and_verifies_nothing(home, table_of, record):
    table_of("http://127.0.0.1:1/", sha256="")
    (home / "small.pth").write_bytes(GOOD)
    (home / "small.pth.sha256").write_text(record)
    with pytest.raises(ValueError, match=r"small\.pth\.sha256 should hold a sha256"):
        locate("small")
    assert "DAMAGED" in table()
