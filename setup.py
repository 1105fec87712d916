"""Adds conf/ to wheels, as uncollapse/conf. Everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """Copies the package, then the config files beside it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # which uses conf/ where it is
            self.copy_tree("conf", str(Path(self.build_lib) / "uncollapse/conf"))


setup(cmdclass={"build_py": BuildWithConf})
