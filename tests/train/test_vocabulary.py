"""Pruned and extended tokenizers, over WordPiece, BPE and Unigram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from tlx.train.pretrained import load_tokenizer
from tlx.train.vocabulary import count_tokens, extend_tokenizer, id_count, prune_tokenizer

TEXTS = ["play some music now", "turn off the lights please", "cancel my lost card", "a new song, louder!"] * 5


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A real tokenizer of the kind, learnt from TEXTS, with special tokens around every text."""
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_a_pruned_tokenizer_writes_known_texts_with_the_same_pieces(kind: str, base: Path) -> None:
    tokenizer = load_tokenizer(str(base)) if kind == "wordpiece" else trained(kind)
    used = int((count_tokens(tokenizer, TEXTS[:2]) > 0).sum())
    pruned, kept = prune_tokenizer(tokenizer, count_tokens(tokenizer, TEXTS[:2]), len(tokenizer) - 2)
    assert used < len(kept) < len(tokenizer)
    for text in TEXTS[:2]:
        ids = pruned(text)["input_ids"]
        assert kept[ids].tolist() == tokenizer(text)["input_ids"]
    assert pruned.pad_token == tokenizer.pad_token
    assert kept[pruned.pad_token_id] == tokenizer.pad_token_id
    assert pruned.decode(pruned(TEXTS[0])["input_ids"]) == tokenizer.decode(tokenizer(TEXTS[0])["input_ids"])


def test_a_size_over_the_vocabulary_changes_nothing(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    same, kept = prune_tokenizer(tokenizer, count_tokens(tokenizer, TEXTS), 10_000)
    assert same is tokenizer
    assert kept.tolist() == list(range(len(tokenizer)))


def test_words_that_the_base_cannot_write_get_tokens_behind_the_old_ones(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    texts = ["天気はどうですか", "天气怎么样", "play music"]
    before = tokenizer.tokenize("play music")
    longer, fresh = extend_tokenizer(tokenizer, texts)
    assert fresh > 0
    assert len(longer) == len(tokenizer) + fresh
    for text in texts:
        assert tokenizer.unk_token_id not in longer(text)["input_ids"]
    assert longer.tokenize("play music") == before


def test_a_base_that_can_write_the_texts_is_left_alone(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    same, fresh = extend_tokenizer(tokenizer, TEXTS[:2])
    assert same is tokenizer
    assert fresh == 0


RUSSIAN = ["Пожалуйста, отмените мою карту", "какая завтра погода", "включи громкую музыку", "где мой новый заказ"]
GREEK = ["παρακαλώ ακυρώστε την κάρτα μου", "τι καιρό θα κάνει αύριο", "παίξε λίγη μουσική"]
ARABIC = ["من فضلك ألغ بطاقتي المصرفية", "ما هو الطقس غدا في القاهرة", "شغل بعض الموسيقى في المطبخ"]
HINDI = ["कृपया मेरा कार्ड रद्द करें", "कल दिल्ली में मौसम कैसा रहेगा", "रसोई में कुछ संगीत बजाओ"]
HEBREW = ["בבקשה לבטל את הכרטיס שלי", "מה מזג האוויר מחר בירושלים", "תשמיע מוזיקה במטבח"]
SHIPPED = Path(__file__).parents[2] / "models" / "tlx-mini-en"


@pytest.mark.parametrize("texts", [RUSSIAN, GREEK, ARABIC, HINDI, HEBREW], ids=["ru", "el", "ar", "hi", "he"])
def test_a_script_that_the_base_spells_letter_by_letter_gets_words_of_its_own(texts: list[str]) -> None:
    tokenizer = load_tokenizer(str(SHIPPED))
    longer, fresh = extend_tokenizer(tokenizer, texts * 3)
    assert fresh > 0
    before, after = (sum(len(found.tokenize(text)) for text in texts) for found in (tokenizer, longer))
    assert after < before / 2
    english = [*TEXTS, "the xxxv html of lmfao, cancl waht Käsekuchen"]
    assert [longer(text)["input_ids"] for text in english] == [tokenizer(text)["input_ids"] for text in english]


def test_a_few_words_of_another_script_among_others_are_learnt_and_the_others_are_cut_as_before() -> None:
    tokenizer = load_tokenizer(str(SHIPPED))
    english = [*TEXTS, *TEXTS, "nsfw xxxv html zzkq"]
    longer, _ = extend_tokenizer(tokenizer, [*english, *RUSSIAN])
    assert len(longer.tokenize(RUSSIAN[0])) < len(tokenizer.tokenize(RUSSIAN[0])) / 2
    assert [longer.tokenize(text) for text in english] == [tokenizer.tokenize(text) for text in english]


@pytest.mark.parametrize(
    "texts",
    [
        ["lmfaooo thats so nsfw smh", "sooo hyped 4 the gig #sxsw http blvd", "cu l8r bff xoxo"],
        ["pleaze cancl mi crad", "waht wether tmorow in pariss", "i lvoe yuo soooooo mcuh"],
        ["Dr. Nguyen met Mrs. Kowalczyk and Mr. Schwarzenegger in Reykjavik", "ask Zbigniew Brzezinski"],
        ["Zwei junge Männer sind im Freien in der Nähe vieler Büsche", "Eine Straßenbahn fährt vorbei"],
    ],
    ids=["tweets", "typos", "names", "german"],
)
def test_odd_words_in_the_bases_own_letters_change_nothing(texts: list[str]) -> None:
    tokenizer = load_tokenizer(str(SHIPPED))
    same, fresh = extend_tokenizer(tokenizer, texts * 20)
    assert same is tokenizer
    assert fresh == 0


def test_new_tokens_are_the_same_in_every_run(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    texts = ["제 카드를 취소해 주세요", "내일 서울 날씨가 어때요", "부엌에서 음악을 틀어 줘", *RUSSIAN]
    made = {extend_tokenizer(tokenizer, texts)[0].backend_tokenizer.to_str() for _ in range(5)}
    assert len(made) == 1


@pytest.mark.parametrize("size", [300, 310])
def test_a_small_byte_level_vocabulary_still_writes_every_text(size: int) -> None:
    tokenizer = trained("bpe")
    pruned, _ = prune_tokenizer(tokenizer, count_tokens(tokenizer, TEXTS), size)
    pruned.backend_tokenizer.decoder = decoders.ByteLevel()
    for text in ("play é", "请帮我", "😀 ok"):
        assert pruned.decode(pruned(text)["input_ids"], skip_special_tokens=True) == text


def test_ids_may_have_holes(tmp_path: Path) -> None:
    """A vocab.txt with a line several times: the last one's id counts, the others belong to no token."""
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["twice"] * 4, "hello", "world", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n")
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    assert (len(tokenizer), id_count(tokenizer)) == (9, 12)
    counts = count_tokens(tokenizer, ["hello worlds", "hello"])
    assert counts[9:].tolist() == [2, 1, 1]
    assert prune_tokenizer(tokenizer, counts, 100)[1].tolist() == list(range(12))
    extended, added = extend_tokenizer(tokenizer, ["привет мир"] * 50)
    ids = list(extended.get_vocab().values())
    assert added
    assert len(set(ids)) == len(ids)
