"""Writes OpenUSD as one binary file (.usdc): a face whose motion is a sum of blend shapes.

https://openusd.org/release/api/usd_skel_page_front.html
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import write_atomic
from .morph_targets import MorphTargets, unit_normals
from .subject_mesh import SKIN, SubjectMesh

ROOT = "/face"


def load_openusd(*modules: str) -> list[Any]:
    """Modules of OpenUSD's Python package. ValueError if it is not there."""
    try:
        return [importlib.import_module(f"pxr.{name}") for name in modules]
    except ImportError as error:
        raise ValueError(
            f"usd: OpenUSD does not load ({error}): ./run_all.sh installs it, or pip install 'avlib[usd]'"
        ) from None


def write_usd(path: Path, mesh: SubjectMesh, targets: MorphTargets, fps: float) -> None:
    """Writes a face with its grey levels, and its motion, which is linear between frames. Frame t has time code t.

    The file states the unit if it is a length. ValueError without OpenUSD.
    """
    Usd, UsdGeom, UsdSkel = load_openusd("Usd", "UsdGeom", "UsdSkel")
    stage = Usd.Stage.CreateInMemory(".usdc")
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    if mesh.metres:
        UsdGeom.SetStageMetersPerUnit(stage, mesh.metres)
    stage.SetTimeCodesPerSecond(fps)
    stage.SetFramesPerSecond(fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(targets.weights) - 1)
    root = UsdSkel.Root.Define(stage, ROOT)
    Usd.ModelAPI(root).SetKind("component")
    stage.SetDefaultPrim(root.GetPrim())
    define_mesh(stage, mesh, targets)
    define_material(stage)
    define_speech(stage, targets)
    write_atomic(path, lambda temporary: stage.GetRootLayer().Export(str(temporary)))


def define_mesh(stage, mesh: SubjectMesh, targets: MorphTargets) -> None:
    """Adds the mesh at rest with its blend shapes, which are children of it."""
    UsdGeom, UsdSkel, Vt = load_openusd("UsdGeom", "UsdSkel", "Vt")

    def vectors(array: np.ndarray):
        return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(array, np.float32))

    face = UsdGeom.Mesh.Define(stage, f"{ROOT}/mesh")
    face.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    face.CreateDoubleSidedAttr(True)
    face.CreatePointsAttr(vectors(mesh.template))
    face.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
    face.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.faces.reshape(-1), np.int32)))
    face.CreateNormalsAttr(vectors(unit_normals(mesh.template, mesh.faces)))
    face.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    face.CreateExtentAttr(vectors(targets.extent(mesh.template)))
    face.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(vectors(mesh.albedo.clip(0, 1)[:, None] * SKIN))
    shapes = []
    turned_normals = targets.turned_normals(mesh.template, mesh.faces)
    for name, moved, turned in zip(prim_names(targets), targets.displacements, turned_normals):
        shape = UsdSkel.BlendShape.Define(stage, face.GetPath().AppendChild(name))
        shape.CreateOffsetsAttr(vectors(moved))
        shape.CreateNormalOffsetsAttr(vectors(turned))
        shapes.append(shape.GetPath())
    binding = UsdSkel.BindingAPI.Apply(face.GetPrim())
    binding.CreateBlendShapesAttr(prim_names(targets))
    binding.CreateBlendShapeTargetsRel().SetTargets(shapes)
    binding.CreateSkeletonRel().SetTargets([f"{ROOT}/skeleton"])


def define_material(stage) -> None:
    """Adds a material that shows the vertices' colours also where a program shows none without a material."""
    Sdf, UsdShade = load_openusd("Sdf", "UsdShade")
    material = UsdShade.Material.Define(stage, f"{ROOT}/skin")
    colours = UsdShade.Shader.Define(stage, f"{ROOT}/skin/colours")
    colours.CreateIdAttr("UsdPrimvarReader_float3")
    colours.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
    surface = UsdShade.Shader.Define(stage, f"{ROOT}/skin/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.6)
    diffuse = surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
    diffuse.ConnectToSource(colours.CreateOutput("result", Sdf.ValueTypeNames.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    UsdShade.MaterialBindingAPI.Apply(stage.GetPrimAtPath(f"{ROOT}/mesh")).Bind(material)


def define_speech(stage, targets: MorphTargets) -> None:
    """Adds the blend shapes' weights over time, and the skeleton to which USD ties them: one joint, which rests."""
    Gf, UsdSkel, Vt = load_openusd("Gf", "UsdSkel", "Vt")
    skeleton = UsdSkel.Skeleton.Define(stage, f"{ROOT}/skeleton")
    skeleton.CreateJointsAttr(["root"])
    skeleton.CreateBindTransformsAttr([Gf.Matrix4d(1)])
    skeleton.CreateRestTransformsAttr([Gf.Matrix4d(1)])
    speech = UsdSkel.Animation.Define(stage, skeleton.GetPath().AppendChild("speech"))
    speech.CreateBlendShapesAttr(prim_names(targets))
    weights = speech.CreateBlendShapeWeightsAttr()
    for t, row in enumerate(targets.weights):
        weights.Set(Vt.FloatArray.FromNumpy(row), t)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([speech.GetPath()])


def prim_names(targets: MorphTargets) -> list[str]:
    """The targets' names, of the characters that USD allows: "motion00+" becomes "motion00_plus"."""
    return [name.replace("+", "_plus").replace("-", "_minus") for name in targets.names]
