"""The short ways to a probe find what scikit-learn finds the long way."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geomprobe.probes.closed_form import discriminant, ridge
from geomprobe.probes.estimators import CS, fit_classifier
from geomprobe.probes.logistic import PreconditionedLogisticRegression

N, D = 240, 12


@pytest.fixture
def x():
    """Correlated features on very different scales, one of them constant, one constant in most rows."""
    rng = np.random.default_rng(0)
    found = rng.standard_normal((N + 60, D)) @ rng.standard_normal((D, D)) * np.geomspace(1e-3, 1e3, D) + 5.0
    found[:, 3] = 7.1
    found[:, 4] = 0.0
    found[:9, 4] = 1.0
    return found


def r2(y, p):
    return r2_score(y, p, multioutput="variance_weighted")


@pytest.mark.parametrize("targets", [None, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_ridge(x, targets, grouped):
    rng = np.random.default_rng(1)
    size = N + 60 if targets is None else (N + 60, targets)
    y = rng.standard_normal(size) + (x[:, :1] if targets else x[:, 0]) * 1e3
    splitter = GroupKFold(3) if grouped else KFold(3, shuffle=True, random_state=0)
    folds = list(splitter.split(x[:N], groups=np.arange(N) // 7))
    penalties = [1.0, 10.0, 100.0, 1000.0]
    pipeline = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(pipeline, {"ridge__alpha": penalties}, cv=folds, scoring=lambda e, a, b: r2(b, e.predict(a)))
    expected = search.fit(x[:N], y[:N]).predict(x[N:])
    np.testing.assert_allclose(ridge(x[:N], y[:N], x[N:], folds, penalties), expected, rtol=1e-8, atol=1e-8)
    alone = make_pipeline(StandardScaler(), Ridge(100.0)).fit(x[:N], y[:N]).predict(x[N:])
    np.testing.assert_allclose(ridge(x[:N], y[:N], x[N:], None, [100.0]), alone, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("classes", [2, 5])
def test_discriminant(x, classes):
    y = np.random.default_rng(2).integers(0, classes, N)
    x[:N, 0] += y * 1e-3
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x[:N], y))
    shrinkages = [0.01, 0.3]
    pipeline = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr"))
    grid = {"lineardiscriminantanalysis__shrinkage": shrinkages}
    search = GridSearchCV(pipeline, grid, cv=folds, scoring="neg_log_loss").fit(x[:N], y)

    found, log_p, shrinkage = discriminant(x[:N], y, x[N:], folds, shrinkages)
    assert found.tolist() == list(range(classes))
    assert shrinkage == search.best_params_["lineardiscriminantanalysis__shrinkage"]
    np.testing.assert_allclose(np.exp(log_p), search.predict_proba(x[N:]), rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logistic_regression(x, classes, dtype):
    rng = np.random.default_rng(3)
    z = StandardScaler().fit_transform(x[:N]).astype(dtype)
    y = np.argmax(z[:, :classes] + rng.standard_normal((N, classes)), axis=1)
    ours = PreconditionedLogisticRegression(tol=1e-8 if dtype == np.float64 else 1e-5, warm_start=True)
    for c in (1e-3, 1e-1, 1e1):  # begun where the last one ended
        theirs = LogisticRegression(C=c, tol=1e-10, max_iter=20_000).fit(z.astype(float), y)
        ours.set_params(C=c).fit(z, y)
        tolerance = 1e-6 if dtype == np.float64 else 2e-3
        np.testing.assert_allclose(ours.predict_proba(z), theirs.predict_proba(z), atol=tolerance)
        assert ours.n_iter_[0] < 60


def test_the_c_chosen_along_a_path_is_that_of_a_grid_search(x):
    rng = np.random.default_rng(4)
    y = (x[:N, 0] * 1e3 + 2 * rng.standard_normal(N) > np.median(x[:N, 0] * 1e3)).astype(int)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x[:N], y))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=5000))
    search = GridSearchCV(pipeline, {"logisticregression__C": list(CS)}, cv=folds, scoring="neg_log_loss")
    search.fit(x[:N], y)
    found = fit_classifier(x[:N], y, folds)
    assert search.best_params_ == {"logisticregression__C": found.named_steps["fit"].C}
    np.testing.assert_allclose(found.predict_proba(x[N:]), search.predict_proba(x[N:]), atol=1e-6)
