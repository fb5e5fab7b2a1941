/** The programs that a release publishes, and how their files are made. */

/** What a program is built from, and what Deno lets it do. */
export interface Program {
  /** The entry in the repository's root, without `.ts`. */
  readonly name: string;
  /** Options of `deno run` and `deno compile`. */
  readonly permissions: readonly string[];
}

/** The relay writes its audit log, and `access` its user's tokens; `access` starts the user's browser. */
export const programs: readonly Program[] = [
  {
    name: "relay",
    // What a relay does not need without --workers it gives up at start.
    permissions: ["--allow-net", "--allow-read", "--allow-write", "--allow-env", "--allow-run"],
  },
  { name: "agent", permissions: ["--allow-net", "--allow-read", "--allow-env"] },
  {
    name: "access",
    permissions: [
      ...["--allow-net", "--allow-read", "--allow-write", "--allow-env"],
      ...["--allow-run", "--allow-sys=hostname"],
    ],
  },
  { name: "operator", permissions: ["--allow-net", "--allow-read", "--allow-env"] },
];

/** Runs Deno with these arguments, its output on ours; ends this process if that fails. */
export async function deno(args: readonly string[]): Promise<void> {
  const { code } = await new Deno.Command(Deno.execPath(), { args: [...args] }).spawn().status;
  if (code !== 0) Deno.exit(1);
}

/** Writes a module and all that it imports to one file. */
export async function bundle(
  entry: string,
  output: string,
  platform: "deno" | "browser" = "deno",
): Promise<void> {
  await deno(["bundle", "--platform", platform, "--output", output, entry]);
}
