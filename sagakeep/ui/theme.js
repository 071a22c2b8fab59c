// Before the first paint: the theme that was chosen here, if one was.
try {
  const theme = localStorage.getItem("sagakeep-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // storage is off: the system's theme it is
}
