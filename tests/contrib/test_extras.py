"""What an integration says whose package is not installed."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("extra", "module", "package"),
    [
        ("prometheus", "prometheus_client", "prometheus-client"),
        ("opentelemetry", "opentelemetry", "opentelemetry-api"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    extra: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"masquerade_ws.contrib.{extra}"
    for loaded in [each for each in sys.modules if each == name or each.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(ImportError) as caught:
        importlib.import_module(name)
    assert str(caught.value) == f"{name} needs the {package} package: pip install 'masquerade-ws[{extra}]'"
