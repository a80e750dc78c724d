"""Writes inference/src/ops/signatures.txt: what each version of each operator takes, by the schemas that ONNX's package carries.

    python3 checks/operator_signatures.py > inference/src/ops/signatures.txt

Needs the package onnx==1.23.2. A line: domain or "-", operator, the version since which it holds, the least and the most inputs, the
least and the most outputs ("*" for any number), and the attributes. Versions that a specification has withdrawn ("deprecated") are left out.
"""

from onnx import defs

ANY = 2**31 - 1


def most(count):
    return "*" if count == ANY else str(count)


def main():
    schemas = [schema for schema in defs.get_all_schemas_with_history() if not schema.deprecated]
    for schema in sorted(schemas, key=lambda one: (one.domain, one.name, one.since_version)):
        counts = [str(schema.min_input), most(schema.max_input), str(schema.min_output), most(schema.max_output)]
        print(schema.domain or "-", schema.name, schema.since_version, *counts, *sorted(schema.attributes))


main()
