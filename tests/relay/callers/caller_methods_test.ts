import assert from "node:assert/strict";
import { field } from "../../../lib/http1/head.ts";
import {
  callerMethods,
  isAmbient,
  isAnonymous,
  isCallerKind,
  withoutCredential,
} from "../../../lib/relay/callers/caller_methods.ts";

Deno.test("isAmbient: browsers attach a credential by themselves unless its method says otherwise", () => {
  assert.deepEqual(
    Object.keys(callerMethods).filter((kind) => isCallerKind(kind) && isAmbient(kind)),
    ["certificate", "edge", "session", "network"],
  );
});

Deno.test("isCallerKind knows the kinds of the list, and no name of the prototype's", () => {
  assert.equal(isCallerKind("jwt"), true);
  for (const other of ["", "JWT", "toString", "__proto__"]) {
    assert.equal(isCallerKind(other), false, other);
  }
});

Deno.test("isAnonymous: only who proved nothing has no name", () => {
  assert.deepEqual(
    Object.keys(callerMethods).filter((kind) => isCallerKind(kind) && isAnonymous(kind)),
    ["network"],
  );
});

Deno.test("withoutCredential takes every method's credential out of a field, whoever the caller is", () => {
  const strip = (name: string, value: string) => {
    const item = field(name, value);
    return withoutCredential(item, item.key)?.value;
  };
  const bearer = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
  assert.equal(strip("Authorization", "Basic eDp5"), undefined);
  assert.equal(
    strip("Sec-WebSocket-Protocol", `v5.channel.k8s.io, ${bearer}`),
    "v5.channel.k8s.io",
  );
  assert.equal(strip("Sec-WebSocket-Protocol", bearer), undefined);
  assert.equal(strip("Cookie", "a=b"), "a=b");
});
