"""Pickled data of Python 2 and 3 is read, and code in pickles is not executed."""

import codecs
import collections
import contextlib
import copyreg
import os
import pickle
import re
import subprocess

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from avlib.corpus.scans.pickles import ALLOWED, load_pickle
from tests import python2

AUDIO = np.arange(-300, 300, dtype="<i2")
CONTENT = {
    "subject": {"sentence01": {"audio": AUDIO, "sample_rate": 22000}, "none": None},
    7: [1.5, -3, 2**20, True, (1, 2)],
    "square": np.arange(12.0).reshape(3, 4),
}


def same(a, b) -> bool:
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(b, dict):
        return type(a) is dict and a.keys() == b.keys() and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def as_python2(thing):
    """Strings as those of Python 2, which are bytes."""
    if isinstance(thing, dict):
        return {as_python2(k): as_python2(v) for k, v in thing.items()}
    return thing.encode("latin1") if isinstance(thing, str) else thing


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(CONTENT, protocol))
    assert same(load_pickle(tmp_path / "a.pkl"), CONTENT)


def test_pickles_of_python_2_are_read(tmp_path):
    """Strings with every byte, arrays in both memory and byte orders, and NumPy scalars."""
    letters = bytes(range(256)).decode("latin1") * 2
    content = CONTENT | {
        letters: letters,
        "fortran": np.asfortranarray(CONTENT["square"]),
        "big": AUDIO.astype(">i2"),
        "unicode": "é",
        "number": np.float32(0.5),
        "count": np.int64(9),
    }
    (tmp_path / "a.pkl").write_bytes(python2.dumps(as_python2(content) | {"unicode": "é"}))
    assert same(load_pickle(tmp_path / "a.pkl"), content | {"number": 0.5, "count": 9})


def test_an_ordered_dict_is_read_as_a_dict(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(collections.OrderedDict(b=1, a=2), 2))
    assert same(load_pickle(tmp_path / "a.pkl"), {"b": 1, "a": 2})


class Call:
    """Is pickled as a function call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def with_state(thing, value) -> bytes:
    """A pickle of `thing` that then sets its state."""
    return pickle.dumps(thing, 2)[:-1] + pickle.dumps(value, 2)[2:-1] + b"b."


def chumpy(state: dict) -> bytes:
    """A pickle of a chumpy.ch.Ch."""
    return b"\x80\x02cchumpy.ch\nCh\n)\x81" + pickle.dumps(state, 2)[2:-1] + b"b."


def sparse(**changed) -> csc_matrix:
    matrix = csc_matrix(np.arange(6.0).reshape(2, 3))
    matrix.__dict__.update(changed)
    return matrix


WRITE = "open('ran', 'w').close()"
# what is requested -> a pickle that creates a file if pickle.load reads it
CODE = {
    "posix.system": pickle.dumps(Call(os.system, "touch ran")),
    "os.system": b"cos\nsystem\n(S'touch ran'\ntR.",
    "os.mkdir": b"(S'ran'\nios\nmkdir\n.",
    "shutil.os.system": b"\x80\x04\x8c\x06shutil\x8c\x09os.system\x93\x8c\x09touch ran\x85R.",
    "subprocess.call": pickle.dumps(Call(subprocess.call, ["touch", "ran"])),
    "builtins.eval": pickle.dumps(Call(eval, WRITE)),
    "__builtin__.eval": pickle.dumps(Call(eval, WRITE), 2),
    "builtins.exec": pickle.dumps({"subject": [Call(exec, WRITE)]}),
    "builtins.getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'touch ran'\ntR.",
}
ARRAY, NUMBERS = b"cnumpy.core.multiarray\n_reconstruct\n", pickle.dumps(AUDIO, 2)
# part of the error -> a pickle that executes nothing but is not plain data
NOT_PLAIN = {
    "constructs an object that is no array": pickle.dumps(Call(copyreg._reconstructor, object, object, None)),
    "contains a set of objects": b"c__builtin__\nset\n((lc__builtin__\nobject\natR.",
    "x: expected an array": chumpy({"x": [1.0]}),
    "out of bounds": pickle.dumps(sparse(indices=np.array([1, 0, 1, 0, 7])), 2),
    "sparse matrix of shape 1000000 x 1000000": pickle.dumps(sparse(_shape=(10**6, 10**6)), 2),
    "requests numpy.load": b"cnumpy\nload\n(S'own.npy'\ntR.",
    "another class than numpy.ndarray": b"\x80\x02" + ARRAY + b"cnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
    "array of type 'O8'": pickle.dumps(np.array([Call(os.system, "touch ran")], object), 2),
    "array of type 'U4'": pickle.dumps(np.array(["text"]), 2),
    "array of type 'V8'": pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "f4")]), 2),
    "array of objects": b"\x80\x02"
    + ARRAY
    + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x00\x85cnumpy\ndtype\nU\x02f4\x85R\x89]tb.",
    "1200 bytes for an array of shape (601,)": NUMBERS.replace(b"MX\x02", b"MY\x02"),
    "calls numpy.ndarray": b"cnumpy\nndarray\n(I2147483647\ntR.",
    "encodes text as 'rot13'": pickle.dumps(Call(codecs.encode, "abc", "rot13"), 2),
    "sets the state of a dict": with_state(collections.OrderedDict(), {"x": 1}),
    "__setstate__() missing": b"\x80\x02ccollections\nOrderedDict\n(N}U\x05itemsK\x01stb.",  # of the class itself
    "contains itself": b"\x80\x02]q\x00h\x00a.",
    "contains a set": pickle.dumps({"a": {1}}, 4),
    "persistent": b"\x80\x02U\x01aQ.",
    "truncated": NUMBERS[:-40],
    "Ran out of input": b"",
}


def refused(path, message: str) -> None:
    """No file or attribute remains, and the error names the request in one line."""
    before = {known: dict(vars(known)) for known in ALLOWED.values()}, sorted(path.parent.iterdir())
    with pytest.raises(ValueError, match=f"{path}: not loaded: .*{re.escape(message)}") as error:
        load_pickle(path)
    assert "\n" not in str(error.value)
    assert before == ({known: dict(vars(known)) for known in ALLOWED.values()}, sorted(path.parent.iterdir()))


@pytest.mark.parametrize("message", CODE)
def test_code_in_a_pickle_is_not_executed(tmp_path, monkeypatch, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pkl").write_bytes(CODE[message])
    refused(tmp_path / "bad.pkl", f"it requests {message};")
    with contextlib.suppress(Exception):
        pickle.loads(CODE[message])
    assert (tmp_path / "ran").exists()  # the pickle does execute code when it is loaded without protection


@pytest.mark.parametrize("message", NOT_PLAIN)
def test_anything_but_plain_data_is_refused(tmp_path, message):
    (tmp_path / "bad.pkl").write_bytes(NOT_PLAIN[message])
    refused(tmp_path / "bad.pkl", message)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_sparse_matrices_become_arrays(tmp_path, protocol):
    """Of SciPy today, and of the SciPy with which FLAME was pickled."""
    data = pickle.dumps(sparse(), protocol)
    for content in (data, data.replace(b"scipy.sparse._csc\n", b"scipy.sparse.csc\n")):
        (tmp_path / "a.pkl").write_bytes(content)
        assert same(load_pickle(tmp_path / "a.pkl"), sparse().toarray())


def test_chumpy_arrays_become_arrays(tmp_path):
    (tmp_path / "a.pkl").write_bytes(chumpy({"x": CONTENT["square"], "_dirty_vars": {"x"}, "_itr": None}))
    assert same(load_pickle(tmp_path / "a.pkl"), CONTENT["square"])


def test_references_to_one_container_stay_one(tmp_path):
    """Otherwise lists of lists of lists, each used twice, would fill the memory."""
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(nested))
    read = load_pickle(tmp_path / "a.pkl")
    assert read[0] is read[1] and read[0][1][0] is read[1][0][1]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.pkl: no such file"):
        load_pickle(tmp_path / "none.pkl")
