"""Students: small architectures (`build_student`), and smaller copies of a teacher (cut.py, narrow.py)."""

from tlx.train.students.registry import build_student, register

__all__ = ["build_student", "register"]
