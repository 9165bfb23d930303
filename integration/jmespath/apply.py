"""Applies expressions by Python's jmespath: a line of JSON [expression, value] in, a line {"result": ...} or {"error": ...} out."""

import json
import sys
import warnings

import jmespath
import jmespath.visitor
from jmespath.exceptions import JMESPathError

warnings.simplefilter("ignore")
# The specification gives an order to numbers only, and null for all else; this implementation orders strings, too, for users that it
# had before the specification.
jmespath.visitor._is_comparable = jmespath.visitor._is_actual_number
for line in sys.stdin:
    expression, given = json.loads(line)
    try:
        answer = {"result": jmespath.search(expression, given)}
    except (JMESPathError, ValueError, TypeError, AttributeError, RecursionError) as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
