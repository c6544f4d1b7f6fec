"""The command line: words, exit statuses, what is said where."""

import subprocess
import sys

import pytest

from chisel.terminal import describe
from chisel.terminal.cli import main


def chisel(capsys, monkeypatch, *words):
    """(exit status, standard output, standard error) of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["chisel", *map(str, words)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


@pytest.fixture
def run(capsys, monkeypatch):
    return lambda *words: chisel(capsys, monkeypatch, *words)


def test_help_names_every_command_and_imports_no_jax():
    code = "import sys, chisel.terminal.cli as c; sys.argv = ['chisel', '--help']\ntry: c.main()\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('jax' in sys.modules)"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, "chisel --help imported jax"
    for command in ("run", "check", "read", "fork", "phases", "report", "show", "ls", "worlds"):
        assert f" {command} " in done.stdout


def test_a_whole_life_of_a_run(run, tiny, tiny_battery, tmp_path):
    out = tmp_path / "runs" / "tiny"
    status, said, told = run("run", tiny, "--battery", tiny_battery, "--out", out)
    assert status == 0
    assert said.strip() == str(out / "report.html")
    for stage in ("compiling training", "training 8,192 of 8,192 steps", "reading 5 of 5 checkpoints"):
        assert stage in told
    status, said, told = run("run", tiny, "--battery", tiny_battery, "--out", out, "--quiet")
    assert (status, said.strip()) == (0, str(out / "report.html"))
    assert "finished already" in told
    status, said, _ = run("show", out)
    assert status == 0
    assert "2,048 of 2,048 steps a member" in said
    status, said, _ = run("ls", tmp_path / "runs")
    assert status == 0
    assert said.splitlines()[1].split() == ["tiny", "smile", "4", "100%", "yes", "yes"]
    status, said, told = run("read", out, "--battery", tiny_battery, "--quiet")
    assert (status, said.strip()) == (0, str(out / "readings.nc"))
    assert told.strip() == "note: 2 seeds: no comparison of schedules in pairs can reach p < 0.05"
    status, said, told = run("read", out, "--battery", tiny_battery)
    assert status == 0
    assert "decision-influences" not in said  # so small a battery does not ask for them
    assert said.splitlines()[-1] == str(out / "readings.nc")
    page = tmp_path / "both.html"
    status, said, _ = run("report", out, out, "--out", page, "-q")
    assert (status, said.strip()) == (0, str(page))
    assert page.is_file()


# Of 7 schedules, 3 differ in the first half and all in the second: 10 of 14 halves.
FACTORIAL = """
[factorial]
phases = { early = 1.0, late = 2.0 }
conditions = { good = { helped = 1.0 }, bad = { smile = 1.0 } }
arms = ["noise", "zero"]
"""


def test_a_factorial_is_planned_run_told_and_forked(run, tiny, tiny_battery, tmp_path):
    study, out = tmp_path / "crossed.toml", tmp_path / "crossed"
    study.write_text(tiny.read_text().split("[[schedule]]")[0] + FACTORIAL, encoding="utf-8")
    status, said, _ = run("check", study, "--no-timing")
    assert status == 0
    for text in ("good or bad in early, late: 4 combinations", "other luck from late", "no reward in early",
                 "20,480 (71%: what members share is trained once)", "with 2 seeds no permutation test"):  # fmt: skip
        assert text in said, said
    status, said, told = run("run", study, "--battery", tiny_battery, "--out", out)
    assert status == 0
    assert "training 20,480 of 20,480 steps" in told
    assert "How much each phase mattered" in (out / "report.html").read_text(encoding="utf-8")
    status, said, _ = run("phases", out)
    assert status == 0
    for text in ("good less bad", "Shapley share", "bid for clown", "early, late", "no reward in late", "note:"):
        assert text in said
    status, said, _ = run("phases", out, "--paths", "-q")
    assert "divergence of policies" in said
    fork = tmp_path / "fork"
    status, said, _ = run("fork", out, "--at", 1024, "--from", "bad bad", "--study", tiny, "--battery", tiny_battery,
                          "--out", fork, "-q")  # fmt: skip
    assert (status, said.strip()) == (0, str(fork / "report.html"))
    status, said, _ = run("show", fork)
    assert "at 1,024 steps: agents under 'bad bad'" in said
    status, _, told = run("phases", fork)
    assert status == 2
    assert "is no [factorial]" in told


def test_limits_are_kept_before_anything_is_written(run, tiny, tmp_path):
    study = tmp_path / "limited.toml"
    for limits, says in (("memory = 0.5", "limits.memory is 0.5 GiB; its 4 members (2 schedules × 2 seeds) take about"),
                         ("hours = 1e-6", "limits.hours is 1e-06; training 4 members")):  # fmt: skip
        study.write_text(f"limits = {{ {limits} }}\n{tiny.read_text()}", encoding="utf-8")
        status, _, told = run("run", study, "--out", tmp_path / "out")
        assert status == 2
        assert says in told
        assert not (tmp_path / "out").exists()


def test_a_phase_edge_within_an_update_is_moved_and_said(run, tiny, tiny_battery, tmp_path):
    study = tmp_path / "moved.toml"
    study.write_text(tiny.read_text().replace("until = 0.5", "until = 0.33"), encoding="utf-8")
    _, _, told = run("run", study, "--battery", tiny_battery, "--out", tmp_path / "out")
    assert "note: the phase that ends at 0.33 of training is moved from update 2.64 to the edge between two" in told


def test_check_prints_the_plan(run, tiny):
    status, said, _ = run("check", tiny, "--no-timing")
    assert status == 0
    assert "4 (2 schedules × 2 seeds)" in said
    assert "0.5 of training: 1,024 steps (update 4)" in said
    status, said, _ = run("check", tiny, "--quiet")
    assert "steps/s (timed on 2 updates)" in said


def test_worlds_are_listed_and_described(run, tmp_path):
    status, said, _ = run("worlds")
    assert status == 0
    listed = {line.split()[0] for line in said.splitlines()}
    assert {
        "smile",
        "maze",
        "gallery",
        "vault",
        "errands",
        "posture",
        "pacman",
        "chess",
        "craftax",
        "gymnax:NAME",
    } <= listed
    status, said, _ = run("worlds", "smile", "--film", tmp_path / "smile.gif")
    assert status == 0
    for word in ("helped", "shape.near_water", "clown_distance", "0 to 1, 1 by default"):
        assert word in said
    assert (tmp_path / "smile.gif").read_bytes().startswith(b"GIF89a")
    assert describe.world_frames("gallery").shape[1:] == (56, 56, 3)


WRONG = {
    "study": (["run", "smil"], "did you mean 'smile'?"),
    "file": (["run", "none.toml"], "none.toml: there is no such file"),
    "battery": (["run", "smile", "--battery", "valus"], "did you mean 'values'"),
    "steps": (["run", "smile", "--steps", "1000"], "is not a multiple of 2048"),
    "seeds": (["run", "smile", "--seeds", "-1"], "training.seeds is -1"),
    "devices": (["run", "smile", "--devices", "0"], "expected at least 1"),
    "show": (["show", "nowhere"], "is not a run"),
    "read": (["read", "nowhere"], "is not a run"),
    "report": (["report", "nowhere"], "is not a run"),
    "ls": (["ls", "nowhere"], "there is no such folder"),
    "world": (["worlds", "smil"], "did you mean 'smile'?"),
    "family": (["worlds", "gymnax:CartPol-v1"], "did you mean 'CartPole-v1'"),
    "small": (["worlds", "maze:3"], "cannot lie apart"),
    "option": (["run", "smile", "--sedes", "1"], "--seeds"),
    "command": (["rum"], "rum"),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_a_sentence_and_status_2(run, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    status, said, told = run(*words)
    assert status == 2
    assert says in told
    assert said == ""
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_interrupting_is_status_130(run, monkeypatch):
    from chisel import lab

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "run", interrupted)
    status, _, told = run("run", "smile")
    assert status == 130
    assert "the same command goes on" in told


def test_a_failure_is_status_1(run, monkeypatch):
    from chisel import lab

    def failing(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lab, "run", failing)
    status, _, told = run("run", "smile")
    assert status == 1
    assert "No space left on device" in told
