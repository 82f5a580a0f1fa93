import type { ReactNode } from "react";
import type { Connection } from "../live/session";
import { ConnectionChip } from "./ConnectionChip";

interface FrameProps {
  tenant: string;
  connection: Connection;
  onReconnect: () => void;
  onSignOut: () => void;
  children: ReactNode;
}

export function Logo() {
  return (
    <span className="logo">
      <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
        <path d="M4 12c4-5 8-5 12 0s8 5 12 0" />
        <path className="faint" d="M4 21c4-5 8-5 12 0s8 5 12 0" />
      </svg>
      <span>Runtide</span>
    </span>
  );
}

export function Frame({ tenant, connection, onReconnect, onSignOut, children }: FrameProps) {
  const behind = "asOf" in connection;
  return (
    <div className={behind ? "frame behind" : "frame"}>
      <a className="skip" href="#content">
        Skip to the runs
      </a>
      <header className="top">
        <Logo />
        <nav aria-label="Pages">
          <a href="?" aria-current="page">
            Runs
          </a>
        </nav>
        <div className="top-end">
          <ConnectionChip connection={connection} onReconnect={onReconnect} />
          <span className="tenant" title="The tenant you are signed in to">
            {tenant}
          </span>
          <button type="button" className="plain" onClick={onSignOut}>
            Sign out
          </button>
        </div>
      </header>
      {children}
    </div>
  );
}
