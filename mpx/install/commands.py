"""How mpx is installed, beyond what pyproject.toml can say: with a line for `site-packages`.

Python runs the line of `mpx-sdk.pth` when it starts. In a trial, whose environment names the experiment's
`sdk` folder in MPX_SDK, it puts that folder first on `sys.path`, so that `nni` and `mpx` are found even
after a script has set PYTHONPATH anew. Elsewhere it does nothing, and imports nothing of mpx.
"""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py

_HERE = Path("mpx/install")  # setuptools runs in the project's root
_LINE = _HERE / "mpx-sdk.pth"


class BuildPy(build_py):
    """Puts the line beside the packages, into a wheel as well as into an editable install's."""

    def run(self) -> None:
        """Build the packages, and copy the line."""
        super().run()
        self.copy_file(str(_LINE), str(self._target()), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all files that `run` writes."""
        return [*super().get_outputs(include_bytecode), str(self._target())]

    def get_source_files(self) -> list[str]:
        """Return all files that a source distribution needs for this."""
        return [*super().get_source_files(), str(_LINE), str(_HERE / "commands.py")]

    def _target(self) -> Path:
        # An editable install ignores what is built, but for what lies in its own wheel.
        is_editable = self.editable_mode
        place = self.get_finalized_command("install").install_lib if is_editable else self.build_lib
        return Path(place, _LINE.name)
