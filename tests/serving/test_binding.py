"""Where a server listens: loopback needs nothing, anything else a certificate and a token."""

from dataclasses import replace

import pytest

from ganglion.core.errors import InputError
from ganglion.serving.binding import Binding


@pytest.fixture
def guarded(tmp_path):
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_text("-----BEGIN")
    (tmp_path / "token").write_text("0123456789abcdef\n")
    return Binding("0.0.0.0", tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_nothing(host):
    Binding(host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "robot.local"])
def test_anywhere_else_both_are_wanted(host, guarded):
    replace(guarded, host=host).check()
    with pytest.raises(InputError, match=r"--bind.token_file.*--bind.insecure"):
        replace(guarded, host=host, token_file=None).check()
    with pytest.raises(InputError, match=r"without --bind.certificate and --bind.key;"):
        replace(guarded, host=host, certificate=None, key=None).check()
    Binding(host, insecure=True).check()


def test_half_a_certificate_is_refused_even_on_loopback(guarded):
    with pytest.raises(InputError, match=r"--bind.certificate comes without --bind.key"):
        replace(guarded, host="127.0.0.1", key=None).check()


def test_files_that_are_not_there_are_named(guarded, tmp_path):
    with pytest.raises(InputError, match=r"--bind.key .*absent.pem: is no file"):
        replace(guarded, key=tmp_path / "absent.pem").check()
    with pytest.raises(InputError, match="can't be read"):
        replace(guarded, token_file=tmp_path / "absent").check()


@pytest.mark.parametrize("text", ["", "short", "two words, however long", "löööööööööööng and not ascii"])
def test_a_token_that_is_none_is_refused(guarded, tmp_path, text):
    (tmp_path / "token").write_text(text)
    with pytest.raises(InputError, match="openssl rand -hex 32"):
        guarded.check()


def test_a_token_comes_without_its_newline(guarded):
    assert guarded.token == "0123456789abcdef"
    assert guarded.scheme == "https"
