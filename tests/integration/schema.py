"""
JSON schema, as much of it as our schemas say; Debian's python3-jsonschema as well where it is installed. `check` refuses words that
are not understood here, so that nothing is passed over.
"""
try:
    import jsonschema
except ImportError:
    jsonschema = None

TYPES = {
    'object': lambda v: isinstance(v, dict),
    'array': lambda v: isinstance(v, list),
    'string': lambda v: isinstance(v, str),
    'boolean': lambda v: isinstance(v, bool),
    'null': lambda v: v is None,
    'integer': lambda v: isinstance(v, int) and not isinstance(v, bool),
    'number': lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
}
KNOWN = {'type', 'enum', 'properties', 'required', 'additionalProperties', 'items', 'minimum', 'maximum', 'description', 'anyOf'}


def types(schema):
    t = schema.get('type', [])
    assert isinstance(t, (str, list)) and (isinstance(t, str) or not t), 'several types are for anyOf: some providers refuse %r' % (t,)
    return [t] if t else []


def check(schema, where='$'):
    """Is it a schema, of words that `validate` knows?"""
    assert isinstance(schema, dict), where
    assert set(schema) <= KNOWN, '%s: %r' % (where, set(schema) - KNOWN)
    assert all(t in TYPES for t in types(schema)), where
    for name, s in schema.get('properties', {}).items():
        check(s, '%s.%s' % (where, name))
    assert set(schema.get('required', [])) <= set(schema.get('properties', {})), where
    if isinstance(schema.get('additionalProperties'), dict):
        check(schema['additionalProperties'], where + '.*')
    if 'items' in schema:
        check(schema['items'], where + '[]')
    for s in schema.get('anyOf', []):
        check(s, where + '|')
    if jsonschema and where == '$':
        jsonschema.Draft7Validator.check_schema(schema)


def fits(value, schema):
    try:
        validate(value, schema, '$|')
        return True
    except AssertionError:
        return False


def validate(value, schema, where='$'):
    assert 'anyOf' not in schema or any(fits(value, s) for s in schema['anyOf']), '%s: %r is none of %r' % (where, value, schema['anyOf'])
    names = types(schema)
    assert not names or any(TYPES[t](value) for t in names), '%s: %r is no %s' % (where, value, names)
    assert 'enum' not in schema or value in schema['enum'], '%s: %r is none of %r' % (where, value, schema['enum'])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert schema.get('minimum', value) <= value <= schema.get('maximum', value), '%s: %r' % (where, value)
    if isinstance(value, dict):
        for name in schema.get('required', []):
            assert name in value, '%s: %s is missing in %r' % (where, name, value)
        for name, v in value.items():
            rest = schema.get('additionalProperties', True)
            assert name in schema.get('properties', {}) or rest is not False, '%s: %s is not foreseen' % (where, name)
            s = schema.get('properties', {}).get(name, rest)
            if isinstance(s, dict):
                validate(v, s, '%s.%s' % (where, name))
    if isinstance(value, list) and 'items' in schema:
        for i, v in enumerate(value):
            validate(v, schema['items'], '%s[%d]' % (where, i))
    if jsonschema and where == '$':
        jsonschema.Draft7Validator(schema).validate(value)
