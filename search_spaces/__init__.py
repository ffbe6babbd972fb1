"""What may vary in a search: dimensions, conditions between them, and named spaces. Knows no other room."""

from search_spaces.catalog import SPACES, named_space
from search_spaces.dimensions import DIMENSIONS, Choice, Dimension, Fixed, Float, Int, LogFloat, LogInt
from search_spaces.errors import SpaceError
from search_spaces.parameters import Condition, Parameter
from search_spaces.python_form import parameters, search_space, when
from search_spaces.space import SearchSpace
from search_spaces.values import Json, Value
from search_spaces.yaml_form import space_from_mapping, space_to_mapping

__all__ = [
    "DIMENSIONS",
    "SPACES",
    "Choice",
    "Condition",
    "Dimension",
    "Fixed",
    "Float",
    "Int",
    "Json",
    "LogFloat",
    "LogInt",
    "Parameter",
    "SearchSpace",
    "SpaceError",
    "Value",
    "named_space",
    "parameters",
    "search_space",
    "space_from_mapping",
    "space_to_mapping",
    "when",
]
