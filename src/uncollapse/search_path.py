"""Adds the user's own config folders to Hydra's search path."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from uncollapse.config import CONF
from uncollapse.plugins import user_folders


class UserFolders(SearchPathPlugin):
    """Appends them, so that the files of this package are found first.

    Hydra calls it once all plugins have registered their options. If Hydra's own launcher of the
    name `joblib` is installed, its options are removed: ours would be checked against them.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        launchers = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for file in (CONF / "hydra/launcher").glob("*.yaml"):
            launchers.pop(file.name, None)
        for folder in user_folders():
            search_path.append("user", f"file://{folder}")


def add_user_folders() -> None:
    """From now on, whatever Hydra composes may use them."""
    Plugins.instance().register(UserFolders)
