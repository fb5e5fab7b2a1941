/** Services of the API with a port of their own. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { freePort } from "../support/free_port.ts";
import { AdminWorld, withState } from "./world.ts";

const path = "/admin/v1/services/db";

function service(listen: string, more: object = {}) {
  return {
    ...{ cluster: "dev", target: "db:5432", hostnames: ["db.example.com"], kind: "tcp" },
    ...{ policy: "public", listen, allow: ["127.0.0.1/32"] },
    ...more,
  };
}

function takePort(): Deno.Listener & { readonly text: string } {
  const port = freePort();
  return Object.assign(Deno.listen({ hostname: "127.0.0.1", port }), { text: `127.0.0.1:${port}` });
}

Deno.test("a service whose port can't be had is refused, and nothing of it is kept", () =>
  withState(async (state) => {
    const taken = takePort();
    {
      await using world = await AdminWorld.start({ STATE: state });
      const { status, body } = await world.ask("PUT", path, service(taken.text));
      deepEqual([status, body.error.code, body.error.field], [
        409,
        "address_unavailable",
        "listen",
      ]);
      ok(
        body.error.message.startsWith(`listen: can't listen on ${taken.text}: `),
        body.error.message,
      );
      equal((await world.ask("GET", path)).status, 404);
      const cluster = { token: "agents-of-dev-0123456789", targetAddr: "t:1" };
      const other = await world.ask("PUT", "/admin/v1/clusters/dev", cluster);
      equal(other.status, 201, "other changes go on");
      taken.close();
      equal((await world.ask("PUT", path, service(taken.text))).status, 201);
      const same = await world.ask("PUT", path, service(taken.text, { allow: ["127.0.0.2/32"] }));
      equal(same.status, 200, "its own port is not in its way");
    }
    await using world = await AdminWorld.start({ STATE: state });
    equal((await world.ask("GET", path)).body.listen, taken.text);
  }));

Deno.test("a stored service whose port was taken meanwhile does not keep the relay from starting", () =>
  withState(async (state) => {
    const port = takePort();
    port.close();
    {
      await using world = await AdminWorld.start({ STATE: state });
      equal((await world.ask("PUT", path, service(port.text))).status, 201);
    }
    const taken = Deno.listen({ hostname: "127.0.0.1", port: Number(port.text.split(":")[1]) });
    await using world = await AdminWorld.start({ STATE: state });
    const told = world.lines.filter(({ message }) =>
      message === "Could not open the port of a service of the admin API"
    );
    deepEqual(told.map(({ level, fields }) => [level, fields["service"]]), [["error", "db"]]);
    const policy = { any: [{ claim: "groups", value: "x" }] };
    await world.ask("PUT", "/admin/v1/policies/ops-x", policy);
    equal((await world.ask("GET", path)).status, 200);
    taken.close();
    const other = { ...service("127.0.0.1:0"), hostnames: ["other.example.com"] };
    equal((await world.ask("PUT", "/admin/v1/services/other", other)).status, 201);
    const listening = world.lines.filter(({ message, fields }) =>
      message === "Listening" && fields["service"] === "db"
    );
    equal(listening.length, 1, "a later change finds the address free");
  }));
