/** A target of an agent that stands for others, among which a request's path chooses. */
import { deepEqual, equal } from "node:assert/strict";
import { eventually, untilEqual } from "../support/deadline.ts";
import { answering, type RawTarget, startRawTarget } from "../support/target.ts";
import { Setup } from "./target_setup.ts";

function named(name: string) {
  return answering(`HTTP/1.1 200 OK\r\nX-Target: ${name}\r\nContent-Length: 0\r\n\r\n`);
}

/** The lines of requests that a target has got, of all its connections. */
function linesOf(target: RawTarget): string[] {
  return target.connections.flatMap(({ receivedText }) =>
    [...receivedText.matchAll(/^(\w+ \S+) HTTP\/1\.1$/gm)].map(([, line]) => line!)
  );
}

/** What a target got in a field of its first request. */
function fieldOf(target: RawTarget, name: string): string | undefined {
  return new RegExp(`^${name}: (.*)\r$`, "im").exec(target.connections[0]!.receivedText)?.[1];
}

Deno.test("a request's path chooses the target, whose credential and Host it gets", async () => {
  await using web = await startRawTarget(named("web"));
  await using api = await startRawTarget(named("api"));
  await Setup.with(async (folder) => {
    await Deno.writeTextFile(`${folder}/key`, "secret-key");
    return [
      { name: "web", address: web.address },
      {
        name: "api",
        address: api.address,
        credential: { file: `${folder}/key`, header: "X-Api-Key" },
      },
      {
        name: "app",
        paths: [{ value: "/", target: "web" }, { value: "/api", target: "api" }, {
          type: "Exact",
          value: "/hook",
          target: "api",
        }],
      },
    ];
  }, async (setup) => {
    const paths = ["/", "/api", "/apis", "/api/x?y=/z", "/hook", "/hook/", "http://x/api/abs"];
    for (const path of paths) {
      equal(await setup.ask("app", path, ["X-Api-Key: caller"]), "200", path);
    }
    equal(await setup.ask("app", "/?next=/api"), "200");
    deepEqual(linesOf(web), ["GET /", "GET /apis", "GET /hook/", "GET /?next=/api"]);
    deepEqual(linesOf(api), ["GET /api", "GET /api/x?y=/z", "GET /hook", "GET http://x/api/abs"]);
    deepEqual([fieldOf(web, "host"), fieldOf(api, "host")], [web.address, api.address]);
    deepEqual([fieldOf(web, "x-api-key"), fieldOf(api, "x-api-key")], ["caller", "secret-key"]);
    const requests = (name: string) =>
      setup.metric(`culvert_agent_target_requests_total{target="${name}"}`);
    await untilEqual(() => requests("web"), 4);
    await untilEqual(() => requests("api"), 4);
  });
});

Deno.test("a path that leads nowhere reaches no target, and is counted and logged", async () => {
  await using api = await startRawTarget(named("api"));
  const targets = [
    { name: "api", address: api.address },
    { name: "app", paths: [{ value: "/api", target: "api" }, { value: "/api/admin" }] },
  ];
  await Setup.with(() => targets, async (setup) => {
    for (const path of ["/", "/apis", "/api/../x", "/api%2Fx", "/%61pi", "/api/..%2fx", "*"]) {
      equal(await setup.ask("app", path), path === "*" ? "protocol" : "path_not_served", path);
    }
    equal(await setup.ask("app", "/api/admin/users"), "path_not_served");
    equal(await setup.ask("app", "/api"), "200");
    equal(linesOf(api).length, 1);
    await untilEqual(() => setup.metric('culvert_agent_paths_not_served_total{target="app"}'), 7);
    const line = await setup.agent.waitForLog(({ message }) =>
      message === "No target serves the path of a request"
    );
    deepEqual([line.target, line.method, line.path], ["app", "GET", "/"]);
  });
});

Deno.test("targets behind paths are reached by their paths alone", async () => {
  await using web = await startRawTarget(named("web"));
  const targets = [
    { name: "web", address: web.address },
    { name: "app", paths: [{ type: "Exact", value: "/hook", target: "web" }] },
  ];
  await Setup.with(() => targets, async (setup) => {
    const session = await setup.session();
    await eventually(() => session.announcements.length > 0, "the announcement");
    deepEqual(session.announcements[0]!.targets, [{ name: "app", kind: "http" }]);
    equal(await setup.ask("web", "/admin"), "forbidden");
    equal(await setup.ask("app", "/admin"), "path_not_served");
    equal(await setup.ask("app", "/hook"), "200");
    const { targets } = JSON.parse(await setup.health("/targets"));
    deepEqual(targets[1], {
      name: "app",
      kind: "http",
      paths: [{ type: "Exact", value: "/hook", target: "web" }],
    });
  });
});

Deno.test("a target gets paths while requests to it are open, and loses them again", async () => {
  await using web = await startRawTarget(named("web"));
  await using api = await startRawTarget(named("api"));
  const dialled = { name: "app", address: web.address };
  await Setup.with(() => [dialled], async (setup) => {
    equal(await setup.ask("app", "/api"), "200");
    await setup.replace([
      { name: "web", address: web.address },
      { name: "api", address: api.address },
      { name: "app", paths: [{ value: "/", target: "web" }, { value: "/api", target: "api" }] },
    ]);
    equal(await setup.ask("app", "/api"), "200");
    deepEqual([linesOf(web), linesOf(api)], [["GET /api"], ["GET /api"]]);
    const line = await setup.agent.waitForLog(({ hash }) => typeof hash === "string");
    deepEqual([line.added, line.changed, line.removed], [2, 1, 0]);
    equal(await setup.metric('culvert_agent_target_requests_total{target="app"}'), undefined);
    equal(await setup.metric('culvert_agent_paths_not_served_total{target="app"}'), 0);
    await setup.replace([dialled]);
    equal(await setup.ask("app", "/api"), "200");
    equal(linesOf(web).length, 2);
    equal(await setup.metric('culvert_agent_paths_not_served_total{target="app"}'), undefined);
  });
});
