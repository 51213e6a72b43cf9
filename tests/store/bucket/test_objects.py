"""Objects of a bucket, and what holds when their server loses answers or breaks its word."""

import pickle
from functools import partial
from pathlib import Path

import obstore
import obstore.store
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError

from clare.errors import InputError, StoreError
from clare.store.bucket.failures import refusal
from clare.store.bucket.files import file_place
from clare.store.bucket.objects import Objects
from clare.store.bucket.places import bucket_url, copy_of, local_path
from clare.store.bucket.probe import require_conditions
from clare.store.bucket.register import BucketRegister
from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.leases import Leases
from clare.store.claims.owner import Owner
from clare.store.claims.register import Clock
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.verify import verify_store
from clare.store.transfer import pull_store, push_store


def test_an_object_is_made_once_and_replaced_in_the_state_that_was_seen(objects):
    first = objects.create("a/b", b"one")
    assert objects.create("a/b", b"two") is None
    second = objects.replace("a/b", b"two", first)
    assert objects.replace("a/b", b"three", first) is None
    assert objects.read("a/b") == (b"two", second)
    assert [(found.key, found.size) for found in objects.list("a")] == [("a/b", 3)]
    assert objects.get_range("a/b", 1, 9) == b"wo"
    objects.delete("a/b")
    objects.delete("a/b")
    assert objects.read("a/b") is None
    assert objects.tag("a/b") is None
    assert objects.replace("a/b", b"four", second) is None
    with pytest.raises(FileNotFoundError):
        objects.get("a/b")


def test_places_are_known_again_and_copies_lie_apart(monkeypatch, tmp_path):
    assert bucket_url(Path("s3://bucket/df40.zarr/")) == "s3://bucket/df40.zarr"
    assert bucket_url("features.zarr") is None
    assert local_path("file:///data/df40.zarr") == Path("/data/df40.zarr")
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path))
    assert copy_of("s3://a/df40.zarr") != copy_of("s3://b/df40.zarr")
    assert copy_of("s3://a/df40.zarr").parent == tmp_path
    with pytest.raises(InputError, match="no URL of a bucket"):
        Objects("features.zarr")


def test_a_scheme_may_be_in_capitals():
    assert bucket_url(Path("S3://Bucket/a.zarr")) == "s3://Bucket/a.zarr"
    assert local_path("FILE:///data/a.zarr") == Path("/data/a.zarr")


@pytest.mark.parametrize("place", ["s3a://b/x", "https://acc.blob.example/c", "s3://", "s4:/b"])
def test_a_url_of_something_else_makes_no_folder(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = create_store(tmp_path / "a.zarr").path
    for act in (create_store, open_store, verify_store, partial(push_store, store)):
        for given in (place, str(Path(place))):
            with pytest.raises(InputError, match="is no place for a store: name s3://"):
                act(given)
    with pytest.raises(InputError, match="is no place for a store"):
        pull_store(place, tmp_path / "b.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("key", ["../x", "a/..", "./a", "a/./b", "a//b", "/a", "\udce4"])
def test_a_url_that_names_no_place_is_refused_in_a_sentence(key, store):
    acts = (create_store, open_store, verify_store, partial(push_store, store.path), file_place)
    for act in (*acts, Objects, partial(pull_store, store=store.path)):
        with pytest.raises(InputError, match=r"the URL of a bucket has .*: name "):
            act(f"memory://q/{key}")


@pytest.mark.parametrize(("scheme", "words"), [("s3", "AWS"), ("az", "AZURE")])
def test_plain_http_is_spoken_where_the_environment_says_so(scheme, words, monkeypatch):
    made = list[dict[str, object]]()
    monkeypatch.setattr(obstore.store, "from_url", lambda url, **how: made.append(how))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    for value in ("true", "false"):
        monkeypatch.setenv(f"{words}_ALLOW_HTTP", value)
        Objects(f"{scheme}://bucket/a")
    allowed = ["allow_http" in str(how["client_options"]) for how in made]
    assert allowed == [True, False]


def test_an_endpoint_of_plain_http_that_is_not_allowed_is_told_at_once(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    with pytest.raises(StoreError, match="without encryption: set AWS_ALLOW_HTTP=true"):
        Objects("s3://bucket/a", patience=60).tag("b")


def test_pickled_objects_are_their_url(objects):
    data = pickle.dumps(objects)
    assert len(data) < 200
    assert pickle.loads(data).url == objects.url


def test_a_server_that_is_away_for_a_while_is_waited_for(objects, monkeypatch):
    tries = []
    put = obstore.put

    def away(*args, **how):
        tries.append(1)
        if len(tries) < 4:
            raise GenericError("error sending request\n\nDebug source: kind: Connect")
        return put(*args, **how)

    monkeypatch.setattr(obstore, "put", away)
    assert objects.create("a", b"one") is not None
    assert len(tries) == 4


def test_a_server_that_stays_away_is_one_sentence(url, monkeypatch):
    def away(*args, **how):
        raise GenericError("error sending request\n\nDebug source: kind: Connect")

    monkeypatch.setattr(obstore, "put", away)
    with pytest.raises(StoreError, match="its server can't be reached: see that it runs") as told:
        Objects(url, patience=0.2).put("a", b"one")
    assert "\n" not in str(told.value)


def test_names_of_objects_are_not_taken_for_what_a_server_says(monkeypatch):
    tries = []

    def away(*args, **how):
        tries.append(1)
        raise GenericError(
            "Error performing PUT http://127.0.0.1:9/b/credentials/metadata.zarr/a in 1ms\n\n"
            "Debug source: uri: http://127.0.0.1:9/b/credentials/metadata.zarr, kind: Connect"
        )

    monkeypatch.setattr(obstore, "put", away)
    objects = Objects("memory://b/credentials/metadata.zarr", patience=0.3)
    with pytest.raises(StoreError, match="its server can't be reached"):
        objects.put("store.json", b"one")
    assert len(tries) > 1


def test_a_put_whose_answer_was_lost_counts_as_done(objects, monkeypatch):
    put = obstore.put

    def lost(*args, **how):
        put(*args, **how)
        raise AlreadyExistsError("Object already exists")  # it was sent again

    monkeypatch.setattr(obstore, "put", lost)
    tag = objects.create("a", b"one")
    assert objects.read("a") == (b"one", tag)
    assert objects.create("a", b"another's") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<Code>NoSuchBucket</Code>", "no such bucket: make it"),
        ("<Code>SignatureDoesNotMatch</Code>", "the secret key is wrong"),
        ("<Code>RequestTimeTooSkewed</Code>", "this machine's clock is wrong: set it"),
        ("<Code>Other</Code><Message>the disk is full</Message>", "Other the disk is full"),
        ("GET http://169.254.169.254/latest failed", "there are no keys for it"),
        ("Generic MicrosoftAzure error: Account must be specified", "there are no keys for it"),
    ],
)
def test_refusals_say_in_a_sentence_what_mends_them(text, words):
    told = str(refusal("s3://bucket/a", GenericError(f"{text}\n\nDebug source: much more")))
    assert words in told
    assert "\n" not in told


def test_a_server_that_keeps_its_word_passes_and_nothing_is_left(objects):
    require_conditions(objects, "locks")
    assert objects.list() == []


def test_a_server_that_ignores_conditions_is_refused(objects, monkeypatch):
    put = obstore.put
    monkeypatch.setattr(
        obstore, "put", lambda *args, **how: put(*args, **{**how, "mode": "overwrite"})
    )
    with pytest.raises(StoreError, match="ignores conditions"):
        require_conditions(objects, "locks")


def test_entries_that_were_taken_away_are_none_and_can_be_made_again(objects):
    register = BucketRegister(objects, "locks")
    tag = register.create("a/b", b"mine") or 0
    assert register.create("a/b", b"yours") is None
    assert register.names("a") == {"b"}
    register.remove("a/b", tag)
    assert (register.names("a"), register.read("a/b")) == (set(), None)
    assert register.create("a/b", b"yours") is not None
    register.remove("a/b", tag)  # of a state that is past
    found = register.read("a/b")
    assert found is not None
    assert found[0] == b"yours"


def test_leases_in_a_bucket_are_taken_over_from_who_is_gone(objects):
    now, register = [0.0], BucketRegister(objects, "locks")
    clock = Clock(lambda: now[0], lambda seconds: None)
    made = []
    for name in ("one", "two"):
        owner = Owner(token=name, host=name)
        heartbeat = Heartbeat(register, owner, clock)
        heartbeat.leases = True
        heartbeat.beat()
        watch = Watch(register, clock)
        watch.begin(owner, 10, 1)
        made.append((Leases(register, heartbeat, watch), heartbeat))
    (first, _), (second, beating) = made
    assert first.take("faces/000000")
    assert not second.take("faces/000000")
    for now[0] in range(0, 24, 2):
        beating.beat()
        second.take("faces/000000")
    assert second.holds("faces/000000")
    assert not first.holds("faces/000000")
