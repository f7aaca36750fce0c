import subprocess

from dpsims.provenance import source_commit


def test_the_commit_is_that_of_the_file(tmp_path):
    def git(*arguments: str) -> str:
        options = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        command = ["git", *options, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    file = tmp_path / "module.py"
    file.touch()
    assert source_commit(file) is None, "no repository"
    git("init", "--quiet")
    source_commit.cache_clear()
    assert source_commit(file) is None, "somebody else's repository"
    git("add", "module.py")
    git("commit", "--quiet", "--message=one")
    source_commit.cache_clear()
    commit = git("rev-parse", "HEAD")
    assert source_commit(file) == commit[:12]
    file.write_text("changed")
    assert source_commit(file) == commit[:12], "asked once"
    source_commit.cache_clear()
    assert source_commit(file) == f"{commit[:12]}+"
