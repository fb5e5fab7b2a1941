import { deepEqual, equal, match, throws } from "node:assert/strict";
import { warningsAboutTargets } from "../../lib/config/agent_options.ts";
import { readClusters } from "../../lib/config/entries/clusters.ts";
import type { ServicesContext } from "../../lib/config/entries/service_checks.ts";
import { readTargets } from "../../lib/config/entries/targets.ts";
import { checkTogether, readServicesText } from "../../lib/config/services_option.ts";

const corp = {
  ...{ name: "corp", kind: "oidc", issuer: "https://id.example.com", clientId: "culvert" },
};
const login = { host: "login.example.com" };

function check(
  impersonate: object,
  { providers = [corp], jwtIssuer }: { providers?: object[]; jwtIssuer?: string } = {},
): string[] {
  const clusters = JSON.stringify([{
    ...{ id: "dev", token: "token-of-the-agent-0123456789", targetAddr: "api", impersonate },
  }]);
  const context: ServicesContext = {
    ...{ ownNames: [], hasJwtIssuer: jwtIssuer !== undefined, jwtIssuer },
  };
  const services = readServicesText(JSON.stringify({ login, providers }), "Services", context);
  return checkTogether(readClusters(clusters, "Clusters").clusters, services, context);
}

Deno.test("a cluster's map names its provider where one name may be that of different people", () => {
  const map = { prefix: "corp:" };
  deepEqual(check(map), []);
  deepEqual(check(map, { jwtIssuer: corp.issuer }), []);
  const jwtIssuer = "https://other.example.com";
  throws(
    () => check(map, { jwtIssuer }),
    /^ConfigError: Clusters: cluster "dev": impersonate needs provider, .* at corp and caller-jwt$/,
  );
  const second = { ...corp, name: "partner", issuer: jwtIssuer };
  throws(() => check(map, { providers: [corp, second] }), /impersonate needs provider/);
  deepEqual(check({ ...map, provider: "corp" }, { providers: [corp, second] }), []);
  deepEqual(check({ ...map, provider: ["corp", "caller-jwt"] }, { jwtIssuer }), []);
  throws(
    () => check({ ...map, provider: "cop" }),
    /^ConfigError: Clusters: cluster "dev": impersonate: provider: there is no provider "cop"$/,
  );
});

Deno.test("a map without a prefix, which lets people have the names of other users, is warned of", () => {
  const [warning, ...others] = check({});
  equal(others.length, 0);
  match(warning!, /^Cluster "dev": impersonate has no prefix, so a person may have the name of/);
  const targets = readTargets(
    JSON.stringify({
      targets: [{
        ...{ name: "api", address: "127.0.0.1:1" },
        impersonate: {
          ...{ proof: "assertion", issuer: "culvert", audience: ["/tunnel/dev"], prefix: "" },
          keysFile: "keys.pem",
        },
      }],
    }),
    "Targets",
  );
  const [about] = warningsAboutTargets({ path: "targets.yaml", entries: targets });
  match(about!, /entry 1 \("api"\): impersonate: prefix is empty/);
});
