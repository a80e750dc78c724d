"""Makes the folders of test data beside it: small models of the libraries that people train with, and what ONNX Runtime says of them.

    pip install scikit-learn skl2onnx onnxmltools xgboost lightgbm catboost onnxruntime
    python make.py

A folder is a test as ONNX has them: model.onnx and test_data_set_0 with inputs and outputs. Where ONNX Runtime and the library that
trained the model disagree, it is not written.
"""

import pathlib
import shutil
import tempfile
import warnings

import catboost
import lightgbm
import numpy as np
import onnx
import onnxruntime
import xgboost
from onnx import numpy_helper
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from skl2onnx import to_onnx, update_registered_converter
from skl2onnx.common import shape_calculator as shapes
from sklearn import ensemble, linear_model, naive_bayes, neural_network, pipeline, preprocessing, svm, tree
from sklearn.datasets import make_classification, make_regression

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
OPSETS = {"": 18, "ai.onnx.ml": 3}
OPTIONS = {"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]}

for library, convert in ((xgboost, convert_xgboost), (lightgbm, convert_lightgbm)):
    short = "XGB" if library is xgboost else "LGBM"
    for kind in ("Classifier", "Regressor"):
        shape = getattr(shapes, f"calculate_linear_{kind.lower()}_output_shapes")
        options = OPTIONS if kind == "Classifier" else {}
        update_registered_converter(getattr(library, short + kind), short + kind, shape, convert, options=options)


def write(name, model, inputs, expected=None):
    """Writes one folder. `expected`: the class of each row, or the value."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {port.name: value for port, value in zip(session.get_inputs(), inputs)}
    outputs = session.run(None, feeds)
    if expected is not None:
        found = outputs[0].reshape(-1)
        same = np.array_equal(found, expected) if found.dtype.kind in "OiU" else np.allclose(found, expected.reshape(-1), rtol=1e-3, atol=1e-3)
        if not same:
            print(f"{name}: ONNX Runtime disagrees with the library")
            return
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for kind, values in (("input", inputs), ("output", outputs)):
        for at, value in enumerate(values):
            (data / f"{kind}_{at}.pb").write_bytes(numpy_helper.from_array(np.asarray(value)).SerializeToString())


def sklearn(name, estimator, x, y, rows=20):
    estimator.fit(x, y)
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "classes_") else None
    model = to_onnx(estimator, x[:1], options=options, target_opset=OPSETS)
    sample = x[:rows]
    write(name, model, [sample], np.asarray(estimator.predict(sample)))


def main():
    two = make_classification(200, 6, n_informative=4, random_state=0)
    three = make_classification(200, 6, n_informative=4, n_classes=3, random_state=1)
    one = make_regression(200, 6, n_informative=4, random_state=2)
    many = make_regression(200, 6, n_informative=4, n_targets=2, random_state=3)
    classes = {"two": two, "three": three}
    for name, (x, y) in classes.items():
        x = x.astype(np.float32)
        names = np.array(["ham", "spam", "eggs"])[y]
        sklearn(f"forest_{name}", ensemble.RandomForestClassifier(5, max_depth=4, random_state=0), x, y)
        sklearn(f"forest_{name}_texts", ensemble.RandomForestClassifier(3, max_depth=3, random_state=0), x, names)
        sklearn(f"extra_{name}", ensemble.ExtraTreesClassifier(3, max_depth=4, random_state=0), x, y)
        sklearn(f"boosting_{name}", ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0), x, y)
        sklearn(f"tree_{name}", tree.DecisionTreeClassifier(max_depth=4, random_state=0), x, y)
        sklearn(f"xgboost_{name}", xgboost.XGBClassifier(n_estimators=5, max_depth=3), x, y)
        sklearn(f"lightgbm_{name}", lightgbm.LGBMClassifier(n_estimators=5, max_depth=3, verbose=-1), x, y)
        sklearn(f"logistic_{name}", linear_model.LogisticRegression(), x, y)
        sklearn(f"svc_{name}", svm.SVC(), x, y)
        sklearn(f"svc_linear_{name}", svm.SVC(kernel="linear", decision_function_shape="ovo"), x, names)
        sklearn(f"svc_poly_{name}", svm.SVC(kernel="poly", degree=3, probability=True, random_state=0), x, y)
        sklearn(f"bayes_{name}", naive_bayes.GaussianNB(), x, y)
        steps = pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.Normalizer(), linear_model.LogisticRegression())
        sklearn(f"pipeline_{name}", steps, x, names)
        sklearn(f"perceptrons_{name}", neural_network.MLPClassifier((8,), max_iter=50, random_state=0), x, y)
    for name, (x, y) in {"one": one, "many": many}.items():
        x, y = x.astype(np.float32), y.astype(np.float32) / 100
        sklearn(f"forest_{name}", ensemble.RandomForestRegressor(5, max_depth=4, random_state=0), x, y)
        sklearn(f"linear_{name}", linear_model.LinearRegression(), x, y)
        if name == "one":
            sklearn("boosting_one", ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0), x, y)
            sklearn("xgboost_one", xgboost.XGBRegressor(n_estimators=5, max_depth=3), x, y)
            sklearn("lightgbm_one", lightgbm.LGBMRegressor(n_estimators=5, max_depth=3, verbose=-1), x, y)
            sklearn("svr_one", svm.SVR(), x, y)
    missing = two[0].astype(np.float32).copy()
    missing[::3, 1] = np.nan
    missing[::5, 3] = np.nan
    sklearn("missing_xgboost", xgboost.XGBClassifier(n_estimators=5, max_depth=3), missing, two[1])
    sklearn("missing_lightgbm", lightgbm.LGBMClassifier(n_estimators=5, max_depth=3, verbose=-1), missing, two[1])
    sklearn("outliers", svm.OneClassSVM(nu=0.2), two[0].astype(np.float32)[:40], None)
    x, y = two
    model = catboost.CatBoostClassifier(iterations=3, depth=3, verbose=0, allow_writing_files=False).fit(x.astype(np.float32), y)
    with tempfile.TemporaryDirectory() as folder:
        model.save_model(f"{folder}/model.onnx", format="onnx")
        graph = onnx.load(f"{folder}/model.onnx")
    # What it gives is a sequence of maps, which a test folder cannot hold.
    del graph.graph.node[1:]
    del graph.graph.output[1:]
    scores = graph.graph.node[0].output[1]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(scores, onnx.TensorProto.FLOAT, None))
    write("catboost_two", graph, [x[:20].astype(np.float32)], model.predict(x[:20].astype(np.float32)))


if __name__ == "__main__":
    main()
