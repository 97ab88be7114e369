#!/usr/bin/env bash
# Adding a word to a tokenizer that already knows it changes how other prompts are read, and upper case no longer
# counts.
#
# Expected: add_tokens(["cat"]) is a no-op where "cat" is in the vocabulary, and returns 0 as nothing is new; and an
# added trigger word such as "<My-Cat>" is matched as written.
# Seen: it returns 1, the vocabulary keeps its size, and "cathedral" is from then on read as "cat" + the rest instead of
# the longer piece the model was trained with. An added "<My-Cat>" is found in "<MY-CAT>" too under a lower-casing
# normalizer, and is listed in Encoding.tokens as "<my-cat>", a name that token_to_id does not know.
# Why: added words are cut out of the text before the model sees it, inside longer words too, whether or not the
# vocabulary has them; and unless added as special they are compared with the text after normalization.
# Why it matters: text-to-image tokenizers are lower-casing, and fine-tunes (textual inversion, LoRA with a trigger
# word) add words. An audit that adds the trigger word to compare a fine-tuned model with its base then prompts both
# with other token ids for every caption that contains the letters of the trigger ("sks" in "masks", "cat" in
# "cathedral"). Use AddedToken(word, single_word=True, normalized=False).
#
# Package: tokenizers 0.23.3. Where: tokenizers/src/tokenizer/added_vocabulary.rs (add_tokens, refresh_added_tokens,
# extract_and_normalize).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check tokenizers==0.23.3 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers


def make():
    words = [*"abcdefghijklmnopqrstuvwxyz<>-", "ca", "cat", "he", "cathe", "[UNK]"]
    merges = [("c", "a"), ("ca", "t"), ("h", "e"), ("cat", "he")]
    made = Tokenizer(models.BPE({word: row for row, word in enumerate(words)}, merges, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


print("tokenizers", version("tokenizers"))
tokenizer = make()
print("before", tokenizer.encode("cathedral").tokens, tokenizer.get_vocab_size())
print("add_tokens returns", tokenizer.add_tokens(["cat"]))
print("after ", tokenizer.encode("cathedral").tokens, tokenizer.get_vocab_size())
tokenizer = make()
tokenizer.add_tokens([AddedToken("cat", single_word=True, normalized=False)])
print("single", tokenizer.encode("cathedral").tokens)
tokenizer = make()
tokenizer.add_tokens(["<My-Cat>"])
encoded = tokenizer.encode("<MY-CAT>")
print("trigger", encoded.tokens, "id by that name:", tokenizer.token_to_id(encoded.tokens[0]))
print("id by the name it was added with:", tokenizer.token_to_id("<My-Cat>") == encoded.ids[0])
PYTHON

cat > expected.txt << 'EXPECTED'
tokenizers 0.23.3
before ['cathe', 'd', 'r', 'a', 'l'] 34
add_tokens returns 1
after  ['cat', 'he', 'd', 'r', 'a', 'l'] 34
single ['cathe', 'd', 'r', 'a', 'l']
trigger ['<my-cat>'] id by that name: None
id by the name it was added with: True
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
