/** A state folder on a file system that is full: a real one, of some KiB. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { AdminWorld, entryFor, withState } from "./world.ts";

async function run(command: string, ...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command(command, { args, stdout: "null", stderr: "null" })
    .output();
  return success;
}

/** Mounting takes root on Linux. */
async function canMount(): Promise<boolean> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const folder = await Deno.makeTempDir();
  const isMounted = await run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder);
  if (isMounted) await run("umount", folder);
  await Deno.remove(folder);
  return isMounted;
}

async function idsOf(world: AdminWorld): Promise<string[]> {
  const { body } = await world.ask("GET", "/admin/v1/clusters");
  return body.items.map(({ id }: { id: string }) => id);
}

Deno.test({
  name:
    "on a full file system changes get 503, nothing is half-written, and there is room again later",
  ignore: !await canMount(),
  fn: () =>
    withState(async (state) => {
      await Deno.mkdir(state);
      ok(await run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state));
      try {
        const acknowledged: string[] = [];
        {
          await using world = await AdminWorld.start({ STATE: state });
          let refused = 0;
          for (let number = 100; number < 200; number++) {
            const { status, body } = await world.ask(
              "PUT",
              `/admin/v1/clusters/c${number}`,
              entryFor(`c${number}`),
            );
            if (status === 201) acknowledged.push(`c${number}`);
            else {
              deepEqual([status, body.error.code], [503, "store_unavailable"]);
              refused++;
            }
          }
          ok(refused > 0 && acknowledged.length > 0, `${refused} refused`);
          deepEqual(await idsOf(world), acknowledged);
          const [first] = acknowledged;
          const changed = await world.ask(
            "PUT",
            `/admin/v1/clusters/${first}`,
            entryFor(first!, { targetAddr: "other:1" }),
          );
          equal(changed.status, 503);
          equal(world.relay.clusters.get(first!)!.targetAddr, "target.example:443");
        }
        await using world = await AdminWorld.start({ STATE: state });
        deepEqual(await idsOf(world), acknowledged);
        const [first] = acknowledged;
        equal((await world.ask("DELETE", `/admin/v1/clusters/${first}`)).status, 200);
        equal((await world.ask("PUT", "/admin/v1/clusters/new", entryFor("new"))).status, 201);
      } finally {
        await run("umount", state);
      }
    }),
});
