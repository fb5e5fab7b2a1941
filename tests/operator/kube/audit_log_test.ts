/** The audit log that other tests judge requests by. */
import assert from "node:assert/strict";
import { configMaps, leases, secrets } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { kubeTest } from "./own_kube.ts";

kubeTest("the audit log has every request, Leases' text and no Secret's", async (kube) => {
  await kube.startAudit();
  const { client, close } = kube.client();
  const namespace = "default";
  await client.create(configMaps, { metadata: { namespace, name: "a" } });
  await client.create(secrets, {
    metadata: { namespace, name: "b" },
    stringData: { token: "not-for-the-log" },
  });
  await client.create(leases, {
    metadata: { namespace, name: "c" },
    spec: { holderIdentity: "one" },
  });
  await assert.rejects(client.get(configMaps, { namespace, name: "none" }));
  await kube.restart();
  await client.list(configMaps, { namespace });
  close();

  const wanted = [
    "create configmaps a 201",
    "create secrets b 201",
    "create leases c 201",
    "get configmaps none 404",
    "list configmaps undefined 200",
  ];
  let told: string[] = [];
  await eventually(async () => {
    told = (await kube.audit()).filter(({ user }) => user.username === "admin")
      .map(({ verb, objectRef, responseStatus }) =>
        `${verb} ${objectRef?.resource} ${objectRef?.name} ${responseStatus?.code}`
      );
    return wanted.every((line) => told.includes(line));
  }, () => `${wanted} in ${told.join("\n")}`);
  const entries = await kube.audit();
  assert.doesNotMatch(JSON.stringify(entries), /not-for-the-log/);
  const [lease] = entries.filter(({ objectRef }) => objectRef?.name === "c");
  const { spec } = lease!.requestObject as { spec: { holderIdentity: string } };
  assert.equal(spec.holderIdentity, "one");
});
