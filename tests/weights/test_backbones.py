"""Backbones of timm's by name: fetched from where timm has them, recorded, found again; or one line that helps."""

import hashlib
import io
import urllib.error
from types import SimpleNamespace

import pytest
import torch

from tests.weights.conftest import GOOD, STATE, names
from weights import download, load, locate_backbone
from weights.__main__ import main

HUB = "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def safe(state=STATE) -> bytes:
    """A file of safetensors."""
    from safetensors.torch import save  # comes with timm

    return save(state)


class Answers:
    """In place of urlopen: what each address holds; any other is not found."""

    def __init__(self, **content: bytes):
        self.content, self.asked = content, list[str]()

    def __call__(self, request, timeout):
        self.asked.append(request.full_url)
        found = next((body for end, body in self.content.items() if request.full_url.endswith(end)), None)
        if found is None:
            raise urllib.error.URLError("Name or service not known")
        answer = io.BytesIO(found)
        answer.headers = {"Content-Length": str(len(found))}  # type: ignore[attr-defined]
        return answer


def test_a_backbone_is_fetched_by_its_name_recorded_and_found_and_checked_ever_after(home, capsys):
    answers = Answers(safetensors=safe())
    path = download("test_resnet", opener=answers)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"test_resnet.safetensors: licence apache-2.0, from {HUB}"
    assert answers.asked == [HUB]
    digest = hashlib.sha256(safe()).hexdigest()
    assert digest in said[1] and (home / "test_resnet.safetensors.sha256").read_text().startswith(digest)
    assert names(home) == ["test_resnet.safetensors", "test_resnet.safetensors.sha256"]
    assert locate_backbone("test_resnet") == locate_backbone("test_resnet.r160_in1k") == path
    assert download("test_resnet", opener=None) == path, "it is there"
    path.write_bytes(safe({"other": torch.zeros(1)}))
    with pytest.raises(ValueError, match=f"found sha256 .* expected {digest}"):
        locate_backbone("test_resnet")


def test_the_licence_is_shown_before_anything_is_asked_for(home, capsys):
    def opener(*_, **__):
        assert "convnextv2_atto.safetensors: licence cc-by-nc-4.0, from https://" in capsys.readouterr().out
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("convnextv2_atto", opener=opener)


def test_the_second_place_serves_where_the_hub_does_not(home, monkeypatch):
    cfg = SimpleNamespace(hf_hub_id="timm/a", hf_hub_filename=None, url="https://x.org/a-0123.pth", license=None)
    monkeypatch.setattr("weights.backbones._timms", lambda name: cfg)
    assert download("test_resnet", opener=Answers(pth=GOOD)) == home / "test_resnet.pth"
    assert locate_backbone("test_resnet") == home / "test_resnet.pth"


def test_without_network_one_line_says_so_and_where_to_put_the_file(home):
    with pytest.raises(FileNotFoundError) as error:
        download("test_resnet", opener=Answers())
    said = str(error.value)
    assert "could not download 'test_resnet'" in said and "Name or service not known" in said
    assert f"fetch {HUB}, and put it here as {home}/test_resnet.safetensors" in said and "\n" not in said
    assert names(home) == []
    with pytest.raises(FileNotFoundError, match="`python -m weights test_resnet` fetches timm's, or put it there"):
        locate_backbone("test_resnet")


def test_what_does_not_open_as_weights_is_not_kept(home):
    for body in (safe()[:-3], b"\n<html>Quota", b"", safe()[:40]):
        with pytest.raises(FileNotFoundError, match="could not download"):
            download("test_resnet", opener=Answers(safetensors=body))
        assert names(home) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pvt_v2_b9", "no weights are called 'pvt_v2_b9'; did you mean .*'pvt_v2_b"),
        ("vgg61", "no weights are called 'vgg61'; did you mean 'vgg16'"),
        ("resnet18.of_mine", "timm publishes no weights of 'resnet18.of_mine'; it has resnet18.a1_in1k"),
    ],
)
def test_a_name_that_nobody_has_is_answered_with_the_nearest(home, capsys, name, says):
    with pytest.raises(ValueError, match=says):
        download(name)
    assert main([name]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_safetensors_file_is_one_under_any_name_and_whatever_its_first_byte(tmp_path):
    whole = safe()
    header, length = whole[8:], int.from_bytes(whole[:8], "little")
    first = -length % 256 + ord("<") + 256  # the length, which comes first, would be taken for a page's "<"
    body = (length + first).to_bytes(8, "little") + header[:length] + b" " * first + header[length:]
    (tmp_path / "renamed.pth").write_bytes(body)
    assert body[:1] == b"<" and list(load(tmp_path / "renamed.pth")) == sorted(STATE)
