"""What pyproject.toml cannot say: the result files of benchmarks/ travel with the package, as `kdcourse.results`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["kdcourse*"]), "kdcourse.results"],
    package_dir={"kdcourse.results": "benchmarks/results"},
    package_data={
        "kdcourse": ["trained/*.safetensors", "trained/answers/*.safetensors", "data/sheets/*", "papers/tables/*.csv",
                     "widgets/*.js", "widgets/*.css", "plan/rubric.md", "plan/examples/*/*"],
        "kdcourse.results": ["*.json"],
    },
)
