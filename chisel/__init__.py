"""Chisel: which reward, given when in training, carves which values into a network?

    import chisel

    study = chisel.load_study("smile")            # or a path, or chisel.Study(...)
    chisel.lab.run(study, "runs/smile")           # trains, reads, reports; goes on where it stopped
    chisel.open_run("runs/smile").dataset("readings.nc")

Importing this costs little: JAX is imported when it is needed.
"""

from chisel import lab
from chisel.build.build import load_study
from chisel.lab import open_run
from chisel.study.files import WrongInput
from chisel.study.study import Study

__all__ = ["Study", "WrongInput", "lab", "load_study", "open_run"]
__version__ = "0.1.0"
