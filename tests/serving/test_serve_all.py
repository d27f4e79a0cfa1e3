"""`ganglion serve all` before it starts anything; tests/triton/test_all_served.py has the rest."""

from ganglion.core.cli import main


def test_a_bundle_without_a_policy_is_sent_to_the_command_for_it(vlm_bundle, capsys):
    assert main(["serve", "all", str(vlm_bundle.root)]) == 2
    assert capsys.readouterr().err == (f"ganglion: {vlm_bundle.root}: holds no policy; use ganglion serve vlm\n")


def test_where_it_may_not_listen_it_starts_nothing(vlm_bundle, capsys):
    assert main(["serve", "all", str(vlm_bundle.root), "--bind.host", "0.0.0.0"]) == 2
    assert "is reachable from other machines" in capsys.readouterr().err


def test_no_bundle_is_one_line(tmp_path, capsys):
    assert main(["serve", "all", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
