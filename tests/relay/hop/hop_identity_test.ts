import assert from "node:assert/strict";
import fc from "fast-check";
import { field } from "../../../lib/http1/head.ts";
import { decodeIdentity, encodeIdentity } from "../../../lib/relay/hop/hop_identity.ts";
import { identityFields } from "../../../lib/relay/people/identities.ts";

Deno.test("what is told about a caller reaches the other relay as it was", () => {
  const identity = {
    fields: [field("X-Who", "ann"), field("Culvert-Identity", "a.b.c")],
    hides: ["x-who"],
    impersonation: { assertion: "a.b.c", user: "corp:zoë", groups: ["ops"], proof: "x.y.z" },
  };
  const read = decodeIdentity(encodeIdentity(identity));
  assert.deepEqual(read, identity);
  assert.deepEqual(identityFields(read!, "provider"), identityFields(identity, "provider"));
});

Deno.test("what no relay writes is told about nobody", () => {
  for (const text of ["", "x", btoa("{}"), btoa('{"fields":[["a\\nb","c"]],"hides":[]}')]) {
    assert.equal(decodeIdentity(text), undefined, text);
  }
  fc.assert(fc.property(fc.string(), (text) => {
    assert.equal(decodeIdentity(text), undefined);
  }));
});
