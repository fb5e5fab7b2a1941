/** This program itself: how it is started again, and its right to do so. */

/** A command and its first arguments. */
export interface OwnProgram {
  readonly command: string;
  readonly args: readonly string[];
}

/** What the relay needs; what can start programs can give them all rights anyway. */
const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-env", "--allow-run"];
const permissionNames = ["net", "read", "write", "env", "run", "sys", "ffi"] as const;

/** What starts this program again, with its own arguments behind. */
export function ownProgram(): OwnProgram {
  const command = Deno.execPath();
  if (Deno.build.standalone) return { command, args: [] };
  const rights = hasAllPermissions() ? ["-A"] : permissions;
  return { command, args: ["run", "--quiet", "--no-prompt", ...rights, Deno.mainModule] };
}

/** Whether this process may start others. */
export function mayStartPrograms(): boolean {
  return Deno.permissions.querySync({ name: "run" }).state === "granted";
}

/**
 * Gives up the right to start other programs, for good. Who was given all permissions keeps them: Deno
 * opens devices such as `/dev/full` for nobody else.
 */
export function giveUpStartingPrograms(): void {
  if (!hasAllPermissions()) Deno.permissions.revokeSync({ name: "run" });
}

function hasAllPermissions(): boolean {
  return permissionNames.every((name) => Deno.permissions.querySync({ name }).state === "granted");
}
