"""Passwords in URLs: what stands in run folders, errors and the list of processes has none of them."""

import shlex
import sys

import pytest

from cesma_sb3.errors import ConfigError
from cesma_sb3.multirun.tuning.storage import open_study
from cesma_sb3.training import provenance
from cesma_sb3.utils.secrets import is_clear_url, masked, masked_command, masked_url

CLEAR = {
    "postgresql://ann:Tr0ub4dor@host:5432/studies": "postgresql://ann:***@host:5432/studies",
    "postgresql+psycopg://ann:Tr0ub%404dor@host/x": "postgresql+psycopg://ann:***@host/x",
    "mysql+pymysql://ann:Tr0ub:4/dor@host/x": "mysql+pymysql://ann:***@host/x",
    "postgresql://ann:Tr0ub 4dor@[::1]:5/x": "postgresql://ann:***@[::1]:5/x",
    "redis://:Tr0ub4dor@host:6379": "redis://:***@host:6379",
    "postgresql://ann@host/x?password=Tr0ub4dor": "postgresql://ann@host/x?password=***",
    "postgresql:///x?host=h&sslpassword=Tr0ub4dor&user=ann": "postgresql:///x?host=h&sslpassword=***&user=ann",
    "sqlite:///x.db?Passwd=Tr0ub4dor&timeout=3": "sqlite:///x.db?Passwd=***&timeout=3",
    "snowflake://ann@host/x?access_token=Tr0ub4dor": "snowflake://ann@host/x?access_token=***",
    "mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3DTr0ub4dor": "mssql+pyodbc:///?odbc_connect=***",
    "https://Tr0ub4dor@hub.example/x": "https://***@hub.example/x",
}
NOT_CLEAR = {
    "postgresql://ann:Tr0ub@4dor@host/x": "postgresql:***",
    "postgresql://ann:Tr0ub@4/dor@host/x": "postgresql:***",
    "postgresql:/ann:Tr0ub4dor@host/x": "postgresql:***",
    "postgresql://ann:Tr0ub4dor@host:port/x": "postgresql:***",
    "ann:Tr0ub4dor@host/x": "ann:***",
    "host=h password=Tr0ub4dor": "***",
}
WITHOUT = [
    "sqlite:////data/me@work/x.db",
    "journal:///runs/a@b.journal",
    "postgresql://ann@host:5432/x?sslmode=require",
    "study.db",
    "C:/Users/ann@work/runs",
    "mpe2.simple_spread_v3",
    "tests.envs_for_tests:MatchingGame",
    "dagger.beta={schedule: linear}",
]


@pytest.mark.parametrize(("url", "shown"), (CLEAR | NOT_CLEAR).items())
def test_a_password_is_hidden_wherever_its_url_stands(url, shown):
    assert masked_url(url) == shown
    assert is_clear_url(url) == (url in CLEAR)
    assert masked(f"cannot open {url!r}: why", url) == f"cannot open {shown!r}: why"


@pytest.mark.parametrize("url", [url for url in CLEAR if "Tr0ub4dor" in url])
def test_a_password_of_a_known_url_is_hidden_where_it_stands_alone(url):
    assert masked("user 'ann', password 'Tr0ub4dor'", url) == "user 'ann', password '***'"


@pytest.mark.parametrize("url", [url for url in CLEAR | NOT_CLEAR if ":" in url])
@pytest.mark.parametrize("word", ["{}", "--storage={}", "env.kwargs.x=sqlite:///a,{}", "a={{b: {}}}"])
def test_no_word_of_a_command_holds_one(word, url):
    found = masked_command(["cesma", "tune", word.format(url)])
    assert "Tr0ub" not in found
    assert "4dor" not in found
    assert "4/dor" not in found


@pytest.mark.parametrize("text", WITHOUT)
def test_what_holds_no_password_is_shown_as_it_is(text):
    assert masked_command([text]) == shlex.quote(text)
    assert masked(f"in {text}: a fault") == f"in {text}: a fault"


def test_words_of_a_command_stay_words(monkeypatch):
    words = [
        "cesma",
        "tune",
        "my file.yaml",
        "--storage",
        "postgresql://ann:Tr0ub 4dor@host/x",
        "--set",
        "a=b c",
    ]
    monkeypatch.setattr(sys, "argv", words)
    expected = "cesma tune 'my file.yaml' --storage 'postgresql://ann:***@host/x' --set 'a=b c'"
    assert provenance.command_line() == expected


@pytest.mark.parametrize("url", [*NOT_CLEAR, "study.db", "sqlite:/x.db", ""])
def test_a_storage_that_is_no_clear_url_is_refused_before_anybody_is_asked(url):
    with pytest.raises(ConfigError) as caught:
        open_study("mine", url, {})
    told = str(caught.value)
    assert told.startswith(f"storage: {masked_url(url)}: expected sqlite:///FILE, journal:///FILE, or a data")
    assert "Tr0ub" not in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:Tr0ub4dor@127.0.0.1:1/x",
        "mysql+nosuchdriver://ann:Tr0ub4dor@127.0.0.1:1/x",
        "nosuch://ann@127.0.0.1/x?password=Tr0ub4dor",
        "sqlite://Tr0ub4dor.db?token=Tr0ub4dor",
    ],
)
def test_what_a_database_says_is_told_without_the_password(url):
    with pytest.raises(ConfigError) as caught:
        open_study("mine", url, {})
    told = str(caught.value)
    assert told.startswith("storage: cannot be opened: ")
    assert "password=Tr0ub" not in told
    assert ":Tr0ub" not in told
    assert len(told.splitlines()) == 1
    assert caught.value.__suppress_context__  # what is below holds the URL
