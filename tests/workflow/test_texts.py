"""A study whose every text holds what Snakemake, Jinja2, pandoc, LaTeX, Typst, HTML or Matplotlib take for their own."""


import pytest
import yaml
from project import STUDY, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

NASTY = r"""{ij} {{ x }} {% y %} `a @10 $5 #1 %2 &amp; a_b ~c ^d <b>e</script> f>g |h \i \textbf{j} "k" 'l' *m* --n ,, [@o] o: Übung שלום"""
PROSE = rf"Loss $L_{{ij}}$ of *all* `{{x}} $y` runs, [@he2016, p. 3], [home](https://example.org/a_b). Then {NASTY.replace('[@o]', '')}"
SHOWN = f"of all {{x}} $y runs, (He et al., 2016, p. 3), home. Then {NASTY.replace('[@o]', '')}"


def nasty_study() -> dict:
    study = yaml.safe_load(STUDY)
    study |= {"title": f"T {NASTY}", "summary": f"S {PROSE}"}
    study["source"] |= {"authors": f"U {NASTY}", "title": f"V {NASTY}"}
    for run in study["runs"].values():
        run["description"] = f"D {NASTY}"
    study["claims"][0]["statement"] = f"C {NASTY}"
    study["open_choices"] = [{name: f"{name} {NASTY}" for name in ("what", "choice", "reason")}]
    study["differences"] = [{name: f"{name} {NASTY}" for name in ("what", "text", "code")}]
    study["sweeps"] = {
        "rate": {
            "label": f"L {NASTY}",
            "description": f"{{}} {NASTY}",
            "vary": "optimizer.learning_rate",
            "points": {"a": 0.001, "b": 0.002},
        }
    }
    study["figures"].append({"kind": "sweep", "name": "rate", "sweeps": ["rate"]})
    study["tables"] += [{"kind": kind, "name": kind} for kind in ("open-choices", "differences")]
    for number, item in enumerate(study["figures"] + study["tables"]):
        item |= {"title": f"I{number} {NASTY}", "caption": f"P{number} {PROSE}"}
    return study


@pytest.fixture(scope="module")
def nasty(_built: Project) -> Project:
    return _built
