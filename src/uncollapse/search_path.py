"""Adds the user's own config folders to Hydra's search path."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from uncollapse.plugins import user_folders


class UserFolders(SearchPathPlugin):
    """Appends them, so that the files of this package are found first."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in user_folders():
            search_path.append("user", f"file://{folder}")


def add_user_folders() -> None:
    """From now on, whatever Hydra composes may use them."""
    Plugins.instance().register(UserFolders)
