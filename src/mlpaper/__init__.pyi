from mlpaper.api import claims as claims
from mlpaper.api import judge as judge
from mlpaper.api import load_data as load_data
from mlpaper.api import load_spec as load_spec
from mlpaper.api import load_study as load_study
from mlpaper.api import make_spec as make_spec
from mlpaper.api import measure as measure
from mlpaper.api import open_run as open_run
from mlpaper.api import results as results
from mlpaper.api import train as train
from mlpaper.errors import ConfigurationError as ConfigurationError
from mlpaper.errors import DataError as DataError
from mlpaper.errors import MlpaperError as MlpaperError

__version__: str
