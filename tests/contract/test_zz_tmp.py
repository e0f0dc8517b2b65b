import bentoml
from bento_rollout import rollout, RolloutSpec

@bentoml.service(name="two")
class Two:
    @bentoml.api
    def predict(self, x: int) -> str: return f"two {x}"

@rollout(champion="one", candidates={"two": Two}, spec=RolloutSpec.parse({"name":"r1","weights":{"two":50},"routing":{"key":"header:x-user"}}))
@bentoml.service(name="svc")
class One:
    @bentoml.api
    def predict(self, x: int) -> str: return f"one {x}"

def test_it(serve):
    s = serve(One)
    for i in range(5):
        r = s.post("/predict", {"x": i}, headers={"x-user": str(i)})
        print(r.status_code, r.text, dict(r.headers))
    print(s.facts)
    print(s.get("/schema.json").json()["name"])
def test_again(serve):
    s = serve(One)
    for i in range(5):
        r = s.post("/predict", {"x": i}, headers={"x-user": str(i)})
        print(r.status_code, r.text)
