"""Results that travel through an SSH server and through a bucket, and what happens when the way or the server fails."""

from __future__ import annotations

import json
import os
import pwd
import random
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import servers
from project import ROOT, commit, shell, start
from reliability import fault

PATIENCE = 300  # seconds after which a command counts as stuck
FILES = {f"data/{number}.npy": 200_000 for number in range(8)} | {"weights.pth": 2_000_000}
SIZE = sum(FILES.values())

pytestmark = pytest.mark.torture


class Remote(NamedTuple):
    """A server with room for results, and what a clone has to know to use it: what all may read, and what none."""

    cable: servers.Cable
    shared: dict[str, str]
    secret: dict[str, str]

    def join(self, clone: Path, **secret: str) -> None:
        """Leaves what the commands of docs/sharing.md leave (`commands` below)."""
        text = "[core]\n    remote = store\n" + settings(self.shared)
        (clone / ".dvc/config").write_text(text, encoding="utf-8")
        (clone / ".dvc/config.local").write_text(settings(self.secret | secret), encoding="utf-8")

    def commands(self) -> list[str]:
        url, *shared = self.shared.items()
        return [
            f"dvc remote add -d store {url[1]}",
            *(f"dvc remote modify store {name} {value}" for name, value in shared),
            *(f"dvc remote modify --local store {name} {value}" for name, value in self.secret.items()),
        ]


def settings(values: dict[str, str]) -> str:
    return "['remote \"store\"']\n" + "".join(f"    {name} = {value}\n" for name, value in values.items())


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no setting and no index of this machine's user plays a part; S3 gives up at the first error."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "SSH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", servers.LOCAL)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the server keeps what it is given."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(disk: Path, mount: Callable[..., None]) -> Callable[[str], None]:
    """The same, with too little room, until a test calls this with a size."""

    def resize(size: str, *how: str) -> None:
        mount("-t", "tmpfs", "-o", ",".join([*how, f"size={size}"]), "pets", str(disk))

    resize("1m")
    return lambda size: resize(size, "remount")


@pytest.fixture(params=["ssh", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, disk: Path) -> Iterator[Remote]:
    folder = tmp_path / "server"
    folder.mkdir()
    if request.param == "ssh":
        with servers.ssh(folder) as cable:
            url = f"ssh://{servers.LOCAL}:{cable.port}{disk}/store"
            secret = {"user": pwd.getpwuid(os.getuid()).pw_name, "keyfile": str(folder / "student")}
            yield Remote(cable, {"url": url}, secret)
    else:
        with servers.s3(folder, disk) as cable:
            address = f"http://{servers.LOCAL}:{cable.port}"
            shared = {"url": "s3://class/results", "endpointurl": address, "region": "us-east-1"}
            yield Remote(cable, shared, only_student(shared))


def only_student(server: dict[str, str]) -> dict[str, str]:
    """Makes the bucket and its one user; from now on the server refuses everyone else."""
    import boto3

    def client(service: str) -> Any:
        access = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        return boto3.client(service, endpoint_url=server["endpointurl"], region_name=server["region"], **access)

    client("s3").create_bucket(Bucket="class")
    iam = client("iam")
    iam.create_user(UserName="student")
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    iam.put_user_policy(UserName="student", PolicyName="bucket", PolicyDocument=document)
    key = iam.create_access_key(UserName="student")["AccessKey"]
    url = f"{server['endpointurl']}/moto-api/reset-auth"
    urllib.request.urlopen(urllib.request.Request(url, b"0", {"Content-Type": "text/plain"})).close()
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder and a file that DVC tracks."""
    folder = tmp_path_factory.mktemp("project")
    numbers = random.Random(1)
    for name, size in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(numbers.randbytes(size))
    shell(folder, "git", "init", "-q")
    shell(folder, "dvc", "init", "-q")
    shell(folder, "dvc", "add", "-q", "data", "weights.pth")
    commit(folder)
    return folder


@pytest.fixture
def first(project: Path, tmp_path: Path, remote: Remote) -> Path:
    """A copy that knows the remote and has pushed nothing."""
    folder = shutil.copytree(project, tmp_path / "first")
    remote.join(folder)
    commit(folder)
    return folder


@pytest.fixture
def second(first: Path, remote: Remote) -> Path:
    """A clone of it, with nothing that DVC keeps."""
    folder = first.with_name("second")
    shell(first.parent, "git", "clone", "-q", str(first), str(folder))
    remote.join(folder)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def cached(folder: Path) -> dict[str, bytes]:
    """What DVC keeps, by checksum."""
    files = [file for file in (folder / ".dvc/cache/files/md5").glob("??/*") if file.is_file()]
    return {file.parent.name + file.name: file.read_bytes() for file in files}


def ends(folder: Path, command: str) -> str:
    """What DVC says where it ends with an error of its own."""
    process = start(folder, "dvc", command)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode, said
    assert "Traceback" not in said
    return "\n".join(line for line in said.splitlines() if line.startswith("ERROR: "))


def push_ends(first: Path) -> str:
    """And neither the results nor DVC's cache change."""
    before = results(first), cached(first)
    said = ends(first, "push")
    assert (results(first), cached(first)) == before
    return said


def pull_ends(second: Path, first: Path) -> str:
    """And each file is there as it should be, or not at all."""
    said = ends(second, "pull")
    assert results(second).items() <= results(first).items()
    assert cached(second).items() <= cached(first).items()
    return said


def arrives(first: Path, second: Path) -> None:
    shell(second, "dvc", "pull")
    assert results(second) == results(first)
    assert results(second).keys() == FILES.keys()
    assert cached(second) == cached(first)


def test_what_one_pushes_another_pulls(first: Path, second: Path) -> None:
    shell(first, "dvc", "push")
    arrives(first, second)
    assert "up to date" in shell(second, "dvc", "status")


def test_the_commands_of_the_document_set_the_remote_and_commit_no_secret(
    project: Path, first: Path, remote: Remote, tmp_path: Path
) -> None:
    folder = shutil.copytree(project, tmp_path / "by hand")
    for command in remote.commands():
        shell(folder, *command.split())
    for name in ("config", "config.local"):
        assert (folder / ".dvc" / name).read_text() == (first / ".dvc" / name).read_text()
    commit(folder)
    assert ".dvc/config.local" not in shell(folder, "git", "ls-files").split()
    words = [command.rsplit(" ", 1)[0] for command in remote.commands()]
    page = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")
    assert [word for word in words if word not in page] == []


CUT = fault(
    "Machine",
    "the connection to a remote (SSH or S3) is cut in the middle of `dvc push` or `dvc pull`",
    "DVC's error; every file is whole or absent; the same command again does the rest",
)
PARTS = pytest.mark.parametrize("part", [0.2, 0.8])


@CUT
@PARTS
def test_a_push_that_is_cut(first: Path, second: Path, remote: Remote, part: float) -> None:
    remote.cable.cut(after=part * SIZE)
    assert "onnect" in push_ends(first)
    remote.cable.mend()
    shell(first, "dvc", "push")
    arrives(first, second)


@CUT
@PARTS
def test_a_pull_that_is_cut(first: Path, second: Path, remote: Remote, part: float) -> None:
    shell(first, "dvc", "push")
    remote.cable.cut(after=part * SIZE)
    assert "onnect" in pull_ends(second, first)
    remote.cable.mend()
    arrives(first, second)


@pytest.mark.parametrize("remote", ["ssh"], indirect=True)
@fault(
    "Machine",
    "the SSH server of a remote falls silent, and `ServerAliveInterval` is set",
    "DVC's error after three such intervals; the same command again does the rest",
)
def test_a_server_that_falls_silent(first: Path, second: Path, remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/config").write_text("Host *\n    ServerAliveInterval 2\n", encoding="utf-8")
    shell(first, "dvc", "push")
    remote.cable.cut(after=SIZE / 2, silent=True)
    assert "failed to pull" in pull_ends(second, first)
    remote.cable.mend()
    arrives(first, second)


@fault(
    "Machine",
    "a key that the remote (SSH or S3) does not know, or a wrong secret",
    "DVC's error; nothing changes; with the right one the same command works",
)
def test_a_stranger(first: Path, second: Path, remote: Remote) -> None:
    if "keyfile" in remote.secret:
        wrong = [{"keyfile": str(Path(remote.secret["keyfile"]).with_name("stranger"))}]
        reason = "Permission denied"
    else:
        wrong = [{"access_key_id": "AKIASTRANGER"}, {"secret_access_key": "guessed"}]
        reason = "Forbidden"
    for secret in wrong:
        remote.join(first, **secret)
        assert reason in push_ends(first)
    remote.join(first)
    shell(first, "dvc", "push")
    for secret in wrong:
        remote.join(second, **secret)
        assert reason in pull_ends(second, first)
        assert not cached(second)
    remote.join(second)
    arrives(first, second)


@fault(
    "Machine",
    "the disk of a remote (SSH or S3) is full",
    "DVC's error; with room again, the same command does the rest",
)
def test_a_full_remote(small_disk: Callable[[str], None], first: Path, second: Path) -> None:
    assert "failed to transfer" in push_ends(first)
    small_disk("64m")
    shell(first, "dvc", "push")
    arrives(first, second)
