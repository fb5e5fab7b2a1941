/**
 * The role for constrained impersonation, as the chart culvert-agent makes it, in an API server that
 * enforces it: of Kubernetes 1.36 or later (`build_apiserver`, KUBE_APISERVER).
 */
import assert from "node:assert/strict";
import { readKubeConnection } from "../../../lib/config/kube_connection.ts";
import { type CommandResult, run } from "../../e2e/command.ts";
import { apiServer, kubeTest } from "./own_kube.ts";

const deployFolder = new URL("../../../deploy/", import.meta.url).pathname;
const valuesFile =
  new URL("../../deploy/values/agent/impersonate-constrained.yaml", import.meta.url)
    .pathname;
const timeoutMs = 60_000;
const namespace = "culvert";
const account = "culvert-agent";
/** What the group may do, which is more than what agents may do in its name. */
const groupRole = ["--verb=get,list,delete", "--resource=pods,secrets"];

kubeTest(
  "who is impersonated can do what limitTo lists and their own rights allow, and nothing else",
  async ({ kubeconfig }) => {
    const must = async (program: string, args: readonly string[], stdin = "") => {
      const { code, stdout, stderr } = await run(program, args, { stdin, timeoutMs });
      assert.equal(code, 0, `${program} ${args.join(" ")}: ${stderr}`);
      return stdout;
    };
    const kubectl = (...args: string[]) => must("kubectl", ["--kubeconfig", kubeconfig, ...args]);
    const rendered = await must("helm", [
      ...["template", account, `${deployFolder}helm/culvert-agent`, "--namespace", namespace],
      ...["--kube-version", "1.36.0", "--values", valuesFile],
      ...["--show-only", "templates/impersonation.yaml"],
    ]);
    await kubectl("create", "namespace", namespace);
    await kubectl("create", "serviceaccount", account, "--namespace", namespace);
    await must("kubectl", ["--kubeconfig", kubeconfig, "apply", "--filename", "-"], rendered);
    await kubectl("create", "clusterrole", "ops", ...groupRole);
    await kubectl("create", "clusterrolebinding", "ops", "--clusterrole=ops", "--group=ops");
    const token = (await kubectl("create", "token", account, "--namespace", namespace)).trim();

    const { server, ca } = readKubeConnection(kubeconfig, "Option --kubeconfig", {});
    const at = ["--server", server, "--certificate-authority", ca!.path!, "--token", token];
    const agent = (...args: string[]): Promise<CommandResult> =>
      run("kubectl", ["--kubeconfig", "/dev/null", ...at, ...args], { timeoutMs });
    const asAnn = (...args: string[]) =>
      agent("--as", "corp:ann@example.com", "--as-group", "ops", ...args);

    assert.match((await asAnn("get", "pods")).stderr, /No resources found/);
    const whoami = JSON.parse((await asAnn("auth", "whoami", "--output", "json")).stdout);
    assert.equal(whoami.status.userInfo.username, "corp:ann@example.com");
    assert.deepEqual(whoami.status.userInfo.groups, ["ops", "system:authenticated"]);
    assert.match((await asAnn("auth", "can-i", "list", "pods")).stdout, /yes/);

    const forbidden = async (result: Promise<CommandResult>, why: RegExp) => {
      const { code, stderr } = await result;
      assert.equal(code, 1);
      assert.match(stderr, why);
    };
    await forbidden(asAnn("delete", "pod", "any"), /impersonate-on:user-info:delete/);
    await forbidden(asAnn("get", "secrets"), /impersonate-on:user-info:list/);
    await forbidden(
      agent("get", "pods"),
      /system:serviceaccount:culvert:culvert-agent" cannot list/,
    );
    await forbidden(
      agent("--as", "corp:ann@example.com", "--as-group", "viewers", "get", "pods"),
      /User "corp:ann@example.com" cannot list resource "pods"/,
    );
    await forbidden(
      agent("--as", "corp:ann@example.com", "--as-group", "system:masters", "get", "pods"),
      /cannot impersonate/,
    );
    await forbidden(
      agent("--as", "corp:bob", "--as-group", "ops", "get", "pods"),
      /cannot impersonate/,
    );
  },
  apiServer !== undefined,
);
