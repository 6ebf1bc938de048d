import json

import pytest
from transformers import Qwen2TokenizerFast

from loc3r_ros.prompt.tokenizer import SPECIAL_TOKENS, load_qwen2
from loc3r_ros.prompt.training import train_tokenizer

TEXTS = [
    "I'm standing beside the sofa, facing the TV.\nIt's 12 metres away!",
    "Wie weit ist der Stuhl?  Äußerst weit … 3,5 m",
    "tabs\tand\r\nline ends \n\n and   many   spaces   ",
    "漢字 🐈 e\u0301 DON'T you'll WE'VE",
    "x=1;y_2--//\\\\ <tag> [pos] {a}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with Qwen2's vocab.json and merges.txt, in small."""
    folder = tmp_path_factory.mktemp("qwen2")
    train_tokenizer(TEXTS * 5, 420).save(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    words = [token for token in sorted(model["vocab"], key=model["vocab"].get) if token not in SPECIAL_TOKENS]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n")
    return folder


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_texts_are_those_of_transformers(folder, text):
    theirs = Qwen2TokenizerFast.from_pretrained(folder)
    ours = load_qwen2(folder)
    ids = ours.encode(text, limit=1000)
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids)
